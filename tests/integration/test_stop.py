"""The real command stops soon, whatever its cameras and webhooks wait for."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.harness import await_address
from tests.rtsp_server import RtspServer, why_unavailable

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")

WAIT_S = 120
"""What a hung camera may wait for: more than `STOP_S`, so that a stop that waits for it fails."""

STOP_S = 60
"""Two seconds are promised; the machine may be busy with whatever else it does."""


@pytest.fixture(scope="module", autouse=True)
def _gstreamer() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_five_cameras_and_three_deaf_webhooks_do_not_hold_up_the_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    with ExitStack() as stack:
        hung, *servers = [stack.enter_context(RtspServer()) for _ in range(3)]
        # Takes connections and never answers, as a camera and as a webhook.
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        urls = [hung.url, *(server.url for server in servers), f"rtsp://127.0.0.1:{mute}/live"]
        urls.append("rtsp://10.255.255.1/live")  # no host is there
        config = tmp_path / "facewire.toml"
        hooks = [f'[[webhooks]]\nurl = "http://127.0.0.1:{mute}/{path}"\n' for path in "abc"]
        cameras = [
            f'[[cameras]]\nname = "c{place}"\nurl = "{url}"\n'
            f"open_timeout_s = {WAIT_S}\nread_timeout_s = {WAIT_S}\n"
            for place, url in enumerate(urls)
        ]
        config.write_text("".join(hooks + cameras))
        command = [str(FACEWIRE), "serve", "--port=0", f"--config={config}"]
        with (tmp_path / "log").open("w+") as log:
            environment = {**os.environ, "FACEWIRE_DATA": str(tmp_path)}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.kill)
            url = await_address(process, tmp_path / "log")
            deadline = time.monotonic() + 300
            while live(url) < {"c0", "c1", "c2"}:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
            hung.hang()
            process.send_signal(number)
            assert process.wait(STOP_S) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


def live(url: str) -> set[str]:
    """Return the cameras that are live."""
    with urlopen(f"{url}api/cameras", timeout=300) as answer:
        return {each["name"] for each in json.load(answer) if each["state"] == "live"}
