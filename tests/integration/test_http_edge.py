"""The real service while others hold its connections; all of it on this machine's loopback."""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.harness import await_address

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="limits open files"),
]

FACEWIRE = Path(sys.executable).with_name("facewire")
N_HELD = 2000
MAX_LOG_LINES = 100


class Service:
    """`facewire serve` with few open files allowed, as systemd does."""

    def __init__(self, folder: Path, settings: str = "", open_files: int = 1024) -> None:
        self.log = folder / "log"
        config = folder / "facewire.toml"
        config.write_text(f"[server]\nport = 0\n{settings}")
        command = ["bash", "-c", f'ulimit -n {open_files}; exec "$0" "$@"', str(FACEWIRE)]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [*command, "serve", f"--config={config}"],
                env={**os.environ, "FACEWIRE_DATA": str(folder / "data")},
                stdout=out,
                stderr=out,
            )
        self.url = await_address(self.process, self.log)
        self.port = int(self.url.rpartition(":")[2].rstrip("/"))

    def connect(self, data: bytes = b"", *, receive_buffer: int = 0) -> socket.socket:
        """Open a connection and send what is taken at once; a refused one may break."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(300)
        with contextlib.suppress(ConnectionError):
            connection.connect(("127.0.0.1", self.port))
            if data:
                connection.send(data)
        return connection

    def health(self) -> str:
        with urlopen(f"{self.url}healthz", timeout=300) as answer:
            return str(json.load(answer)["status"])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(300) == 0
        log = self.log.read_text()
        assert "Traceback" not in log
        assert len(log.splitlines()) < MAX_LOG_LINES


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def _many_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < N_HELD + 500:
        pytest.skip(f"{hard} open files are too few for {N_HELD} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, N_HELD + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    try:
        yield running
        running.stop()
    finally:
        running.process.kill()
        running.process.wait()


WEBSOCKET = b"GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upg"
UPLOAD = (
    b"POST /api/identities HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
)
OFFER = b"POST /api/whip HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\nv"
PAGE = b"GET /style.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "n_held"),
    [
        (b"", N_HELD),
        (OFFER, N_HELD),
        # More than there is room for, beside the open files.
        (b"GET / HTTP/1.1\r\nHost: 127", 700),
        (WEBSOCKET, 700),
        (UPLOAD, 700),
        (b"nonsense\r\n\r\n", 700),
        (PAGE, 700),
    ],
    ids=["silent", "body", "header", "handshake", "upload", "nonsense", "kept open"],
)
def test_health_answers_while_connections_are_held(
    service: Service, data: bytes, n_held: int
) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(n_held):
            stack.enter_context(service.connect(data))
            if number % 400 == 0:
                assert service.health() == "ready"
        assert service.health() == "ready"


def test_health_answers_while_nobody_reads_the_answers(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(600):
            stack.enter_context(service.connect(PAGE * 200, receive_buffer=4096))
            if number % 100 == 0:
                assert service.health() == "ready"
        assert service.health() == "ready"


def test_slow_requests_are_ended(tmp_path: Path) -> None:
    settings = "header_timeout_s = 0.5\nbody_timeout_s = 0.5\nidle_timeout_s = 0.5\n"
    running = Service(tmp_path, settings)
    try:
        for data, expected in (
            (b"", b""),
            (b"GET / HTTP/1.1\r\nHost: 127", b"HTTP/1.1 408 "),
            (WEBSOCKET, b"HTTP/1.1 408 "),
            (OFFER, b"HTTP/1.1 40"),
            (UPLOAD, b"HTTP/1.1 408 "),
            (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.1 200 "),
        ):
            with running.connect(data) as connection:
                # Byte by byte does not help: what has begun has its time.
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while part := connection.recv(65536):
                        answer += part
                assert answer.startswith(expected)
        with running.connect() as drip:
            until(lambda: _is_refused(drip, b"G"))
        assert running.health() == "ready"
        running.stop()
    finally:
        running.process.kill()
        running.process.wait()


def _is_refused(connection: socket.socket, byte: bytes) -> bool:
    try:
        connection.send(byte)
    except ConnectionError:
        return True
    return False


def test_stopping_while_requests_are_under_way_leaves_no_traceback(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for data in (OFFER, UPLOAD, WEBSOCKET, b"GET /"):
            stack.enter_context(service.connect(data))
        assert service.health() == "ready"
        service.stop()


def test_uploads_that_are_broken_off_leave_no_traceback(service: Service) -> None:
    for data in (OFFER, UPLOAD) * 20:
        connection = service.connect(data)
        # Reset instead of an end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert service.health() == "ready"
