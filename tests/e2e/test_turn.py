"""Video between two networks that reach only a TURN server: the real coturn, and Chromium."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.harness import CHROMIUM, COUNT_FRAMES, OUTPUT, require, require_chromium
from tests.namespaces import HOSTS, MIDDLE, inside, networks, relayed, script, why_unavailable

pytestmark = pytest.mark.e2e

PATIENCE_S = 300
TURN_PORT, PORT = 3478, 8080
SECRET = "shared with the TURN server"


@pytest.fixture(scope="module", autouse=True)
def _needed() -> None:
    require_chromium()
    require("" if shutil.which("turnserver") else "no coturn: apt-get install coturn")
    require(why_unavailable())


@contextmanager
def turn_server(directory: Path, *credentials: str) -> Iterator[None]:
    command = ["turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "--realm=facewire.test"]
    command += [f"--listening-ip={MIDDLE}", f"--relay-ip={MIDDLE}", f"--listening-port={TURN_PORT}"]
    command += [f"--pidfile={directory}/turn.pid", f"--userdb={directory}/turn.db"]
    log = OUTPUT / "turnserver.log"
    OUTPUT.mkdir(exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *credentials, "--log-file=stdout"], stdout=out, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    socket.create_connection((MIDDLE, TURN_PORT), timeout=PATIENCE_S).close()
                    break
                except ConnectionError:
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def service(directory: Path, *ice_servers: str, turn_secret: str = "") -> Iterator[str]:
    """Run the service in a network of its own; yields its page's address for the other one."""
    config = directory / "facewire.toml"
    config.write_text(
        f'[server]\nallowed_hosts = ["{MIDDLE}"]\n[video]\nice_servers = {list(ice_servers)}\n'
    )
    command = [*inside("service"), str(Path(sys.executable).with_name("facewire")), "serve"]
    command += [f"--config={config}", f"--host={HOSTS['service']}", f"--port={PORT}", "--insecure"]
    environment = {**os.environ, "FACEWIRE_DATA": str(directory), "FACEWIRE_TURN_SECRET": ""}
    if turn_secret:
        environment["FACEWIRE_TURN_SECRET"] = turn_secret
    log = OUTPUT / "turn-service.log"
    OUTPUT.mkdir(exist_ok=True)
    with log.open("wb") as out, relayed(HOSTS["service"], PORT) as port:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        url = f"http://{MIDDLE}:{port}/"
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    urlopen(f"{url}healthz", timeout=PATIENCE_S).close()
                    break
                except (URLError, ConnectionError):
                    time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "s3cret" not in text
    assert SECRET not in text


@contextmanager
def page_of(stack: ExitStack, directory: Path, url: str) -> Iterator[Any]:
    """Open the page in Chromium in the viewer's network."""
    program = script(directory / "chromium", "viewer", CHROMIUM)
    playwright = stack.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    try:
        page = browser.new_page()
        page.add_init_script(COUNT_FRAMES)
        page.goto(f"{url}#/live/demo")
        yield page
    finally:
        browser.close()


@pytest.mark.parametrize("kind", ["password", "secret", "tcp"])
def test_video_comes_through_turn_where_nothing_else_reaches(tmp_path: Path, kind: str) -> None:
    transport = "?transport=tcp" if kind == "tcp" else ""
    login, credentials = "me:s3cret@", ["--lt-cred-mech", "--user=me:s3cret"]
    if kind == "secret":
        login, credentials = "", ["--use-auth-secret", f"--static-auth-secret={SECRET}"]
    server = f"turn:{login}{MIDDLE}:{TURN_PORT}{transport}"
    with ExitStack() as stack:
        stack.enter_context(networks())
        stack.enter_context(turn_server(tmp_path, *credentials))
        url = stack.enter_context(
            service(tmp_path, server, turn_secret=SECRET if kind == "secret" else "")
        )
        page = stack.enter_context(page_of(stack, tmp_path, url))
        page.wait_for_function("() => window.shown.length > 25", timeout=PATIENCE_S * 1000)
        assert page.evaluate("document.getElementById('video').videoWidth") == 1280
        page.screenshot(path=OUTPUT / f"turn-{kind}.png")


@pytest.mark.parametrize(
    ("server", "runs", "reason"),
    [
        ("", False, f"does not reach it by UDP at {HOSTS['service']}, and no TURN server"),
        (f"turn:me:wrong@{MIDDLE}:{TURN_PORT}", True, "TURN server rejects its user or password"),
        (f"turn:me:s3cret@{MIDDLE}:{TURN_PORT}", False, "the TURN server cannot be reached"),
    ],
)
def test_the_page_says_why_no_connection_comes_up(
    tmp_path: Path, server: str, runs: bool, reason: str
) -> None:
    with ExitStack() as stack:
        stack.enter_context(networks())
        if runs:
            stack.enter_context(turn_server(tmp_path, "--lt-cred-mech", "--user=me:s3cret"))
        url = stack.enter_context(service(tmp_path, *[server] * bool(server)))
        page = stack.enter_context(page_of(stack, tmp_path, url))
        expect(page.locator("#veil-text")).to_contain_text(reason, timeout=PATIENCE_S * 1000)
        page.screenshot(path=OUTPUT / "turn-none.png")
