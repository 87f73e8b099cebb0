"""Debian's Janus, with a configuration of its own, as a process that tests can kill."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.e2e.harness import OUTPUT, PATIENCE_S, require
from tests.ports import HeldPort

JANUS = shutil.which("janus") or "/usr/bin/janus"
SECRET = "janus-secret-of-the-tests"

FILES = {
    "janus.jcfg": """
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{folder}/plugins"
    transports_folder = "{folder}/transports"
    debug_level = 4
    api_secret = "{secret}"
    admin_secret = "{secret}"
    protected_folders = []
}}
media: {{ rtp_port_range = "{first}-{last}" }}
""",
    "janus.transport.websockets.jcfg": """
general: {{ ws = true, ws_port = {port}, ws_ip = "127.0.0.1", wss = false }}
admin: {{
    admin_ws = true
    admin_ws_port = {admin_port}
    admin_ws_ip = "127.0.0.1"
    admin_wss = false
}}
""",
    "janus.plugin.streaming.jcfg": """
general: {{ admin_key = "{secret}", rtp_port_range = "{first}-{last}" }}
""",
}
LOADED = ("plugins/libjanus_streaming.so", "transports/libjanus_websockets.so")


def why_no_janus() -> str:
    """Return one line on why there is no Janus here; empty if there is one."""
    return "" if Path(JANUS).exists() else "no Janus: apt-get install janus"


def require_janus() -> None:
    require(why_no_janus())


class JanusServer:
    """A Janus; `start` it again after `kill`.

    Attributes:
        port: of its WebSocket API, on 127.0.0.1.
        admin_port: of its admin API.
        ports: of its media, first and last.
        log: file of its output.
    """

    def __init__(self, folder: Path, port: int, admin_port: int, ports: tuple[int, int]) -> None:
        self.port, self.admin_port, self.ports = port, admin_port, ports
        self.log = OUTPUT / f"janus-{port}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        for name, text in FILES.items():
            (folder / name).write_text(
                text.format(
                    folder=folder,
                    secret=SECRET,
                    port=port,
                    admin_port=admin_port,
                    first=ports[0],
                    last=ports[1],
                )
            )
        for name in LOADED:
            (folder / name).parent.mkdir()
            (folder / name).symlink_to(next(Path("/usr/lib").glob(f"*/janus/{name}")))

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def handles(self, session: int) -> list[int]:
        """Return the handles of a session."""
        request = {"janus": "list_handles", "session_id": session, "transaction": "t"}
        with connect(
            f"ws://127.0.0.1:{self.admin_port}",
            subprotocols=[Subprotocol("janus-admin-protocol")],
            proxy=None,
        ) as socket:
            socket.send(json.dumps({**request, "admin_secret": SECRET}))
            handles: list[int] = json.loads(socket.recv())["handles"]
        return handles

    def start(self) -> None:
        OUTPUT.mkdir(exist_ok=True)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [JANUS, f"--configs-folder={self._folder}", "--disable-colors"],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + PATIENCE_S
        while b"WebSockets thread started" not in self.log.read_bytes():
            assert self.process.poll() is None, f"Janus ended, see {self.log}"
            assert time.monotonic() < until, f"Janus did not start, see {self.log}"
            time.sleep(0.05)

    def hang(self) -> None:
        """Stop responding without closing anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `hang`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def janus(folder: Path, port: int, ports: tuple[int, int]) -> Iterator[JanusServer]:
    """Start Janus, and kill it at the end.

    Args:
        folder: of its configuration, empty.
        port: of its API.
        ports: of its media.
    """
    require_janus()
    with HeldPort() as admin:
        server = JanusServer(folder, port, admin.port, ports)
        try:
            server.start()
            yield server
        finally:
            server.kill()
