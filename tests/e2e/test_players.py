"""Other people's players and encoders, in Chromium: npm's whip-whep and @eyevinn/webrtc-player."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from platformdirs import user_cache_path
from playwright.sync_api import Page

from tests.e2e.harness import (
    COUNT_FRAMES,
    OUTPUT,
    PATIENCE_S,
    RunningService,
    await_picture,
    chromium,
    require,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e

INSTALL = Path(__file__).parent / "players" / "install"

# Served by the test under the service's own origin, like another page behind the same proxy.
PAGE = """<!doctype html><meta charset="utf-8"><title>players</title>
<link rel="icon" href="data:,">
<body style="margin:0"><video id="video" width="640" autoplay muted playsinline></video>
<script src="players.js"></script>"""


@pytest.fixture(scope="module")
def bundle() -> Path:
    require_chromium()
    require("" if shutil.which("npm") else "no npm: apt-get install npm")
    folder = user_cache_path("facewire") / "test-players"
    done = subprocess.run([INSTALL, folder], capture_output=True, text=True, check=False)
    require("" if done.returncode == 0 else f"the players cannot be installed: {done.stderr}")
    return folder / "players.js"


@pytest.fixture(scope="module")
def facewire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with service("players", tmp_path_factory.mktemp("players")) as running:
        yield running


@pytest.fixture
def page(bundle: Path, facewire: RunningService) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        page.add_init_script(COUNT_FRAMES)
        page.route("**/others/", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.route("**/others/players.js", lambda route: route.fulfill(path=bundle))
        page.goto(f"{facewire.url}others/")
        yield page


def cameras(facewire: RunningService) -> dict[str, dict[str, object]]:
    with urlopen(f"{facewire.url}api/cameras", timeout=PATIENCE_S) as answer:
        return {each["name"]: each for each in json.load(answer)}


def until_viewers(facewire: RunningService, n: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while cameras(facewire)["demo"]["viewers"] != n:
        assert time.monotonic() < deadline, f"not {n} viewers in time"
        time.sleep(0.1)


def test_whip_whep_watches_and_hangs_up(page: Page, facewire: RunningService) -> None:
    page.evaluate("""async () => {
      const peer = new RTCPeerConnection();
      peer.addTransceiver("video", { direction: "recvonly" });
      peer.ontrack = ({ track }) => {
        document.getElementById("video").srcObject = new MediaStream([track]);
      };
      window.client = new WHEPClient();
      await client.view(peer, new URL("/api/cameras/demo/whep", location.href));
    }""")
    await_picture(page)
    page.wait_for_function("window.shown.length >= 10", timeout=PATIENCE_S * 1000)
    page.screenshot(path=OUTPUT / "players-whip-whep.png")
    until_viewers(facewire, 1)
    page.evaluate("client.stop()")
    until_viewers(facewire, 0)


def test_eyevinns_player_watches_and_hangs_up(page: Page, facewire: RunningService) -> None:
    page.evaluate("""async () => {
      const video = document.getElementById("video");
      window.player = new WebRTCPlayer({ video, type: "whep", iceServers: [] });
      await player.load(new URL("/api/cameras/demo/whep", location.href));
    }""")
    await_picture(page)
    page.wait_for_function("window.shown.length >= 10", timeout=PATIENCE_S * 1000)
    page.screenshot(path=OUTPUT / "players-eyevinn.png")
    until_viewers(facewire, 1)
    page.evaluate("player.destroy()")
    until_viewers(facewire, 0)


def test_whip_whep_brings_a_camera(page: Page, facewire: RunningService) -> None:
    page.evaluate("""async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      const peer = new RTCPeerConnection();
      peer.addTransceiver(stream.getVideoTracks()[0], { direction: "sendonly" });
      window.client = new WHIPClient();
      await client.publish(peer, new URL("/api/whip?name=other", location.href));
    }""")
    deadline = time.monotonic() + PATIENCE_S
    while cameras(facewire).get("other", {}).get("state") != "live":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page.evaluate("client.stop()")
    while "other" in cameras(facewire):
        assert time.monotonic() < deadline + PATIENCE_S
        time.sleep(0.1)
