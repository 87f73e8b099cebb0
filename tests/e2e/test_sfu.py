"""The page plays a camera from a real Janus, and from facewire itself while Janus is away."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.e2e.harness import (
    OUTPUT,
    PATIENCE_S,
    RunningService,
    chromium,
    open_page,
    require_chromium,
    service,
)
from tests.janus_server import SECRET, JanusServer, janus
from tests.ports import HeldPort

MEDIA = (22000, 22999)

KEEP_PEERS = """
window.peers = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) {
    super(...options);
    window.peers.push(this);
  }
};
"""

SENDERS_PORT = """async () => {
  const peer = window.peers.findLast((each) => each.connectionState === "connected");
  const stats = await peer?.getStats() ?? new Map();
  const pair = [...stats.values()].find((each) => each.type === "candidate-pair" && each.nominated);
  return pair ? stats.get(pair.remoteCandidateId).port : 0;
}"""

FROM_JANUS = f"""async () => {{
  const port = await ({SENDERS_PORT})();
  return {MEDIA[0]} <= port && port <= {MEDIA[1]};
}}"""

MORE_FRAMES = """() => new Promise((resolve) => {
  const before = window.shown.length;
  const look = () => window.shown.length > before + 10 ? resolve(true) : setTimeout(look, 50);
  look();
})"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JanusServer]:
    with HeldPort() as held, janus(tmp_path_factory.mktemp("janus"), held.port, MEDIA) as running:
        yield running


@pytest.fixture(scope="module")
def running(
    server: JanusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    config = folder / "facewire.toml"
    config.write_text(f'[sfu]\nkind = "janus"\nurl = "{server.url}"\nsecret = "{SECRET}"\n')
    with service("sfu", folder / "data", "--config", str(config)) as started:
        yield started


def test_the_page_plays_a_camera_from_janus_and_without_it(
    server: JanusServer, running: RunningService
) -> None:
    require_chromium()
    with chromium() as browser:
        page = open_page(browser, f"{running.url}#/live/demo")
        page.add_init_script(KEEP_PEERS)
        page.reload()
        figures = page.locator("#live-figures")
        expect(figures).to_contain_text("by way of Janus")
        assert page.evaluate(MORE_FRAMES)
        page.wait_for_function(FROM_JANUS)
        assert page.evaluate("document.getElementById('video').videoWidth") == 1280
        page.screenshot(path=OUTPUT / "sfu-janus.png")

        server.kill()
        expect(figures).to_contain_text("without the SFU")
        assert page.evaluate(MORE_FRAMES)
        assert not page.evaluate(FROM_JANUS)
        assert any("cannot be reached" in each for each in problems(running.url))
        page.screenshot(path=OUTPUT / "sfu-away.png")

        server.start()
        expect(figures).to_contain_text("by way of Janus")
        assert page.evaluate(MORE_FRAMES)
        page.wait_for_function(FROM_JANUS)
        assert not any("SFU" in each for each in problems(running.url))


@pytest.mark.parametrize(
    ("address", "options", "via"),
    [
        ("", ("--direct",), "facewire"),
        ("api/cameras/demo/whep", (), "janus"),
    ],
)
def test_load_measures_viewers_from_janus_and_from_facewire(
    running: RunningService, address: str, options: tuple[str, ...], via: str
) -> None:
    figures = json.loads(load(running.url + address, *options).stdout)
    assert (figures["viewers"], figures["joined"], figures["via"]) == (3, 3, via)
    assert len(figures["fps"]) == 3
    assert figures["fps"][0] > 0
    assert figures["bytes"] > 0
    assert 0 <= figures["loss"] < 1
    p50, p95, longest = figures["join_s"]
    assert 0 < p50 <= p95 <= longest
    assert (figures["service_cores"] is None) == bool(address)
    assert list(figures["process_cores"]) == [str(os.getpid())]
    assert figures["failures"] == {}
    counted = metric(running.url, "facewire_sfu_published_streams_total")
    assert counted > 0


def test_load_says_why_there_is_no_video(running: RunningService) -> None:
    failed = load(running.url, "--camera", "nowhere")
    assert failed.returncode == 1
    assert failed.stderr == (
        "facewire: none of 3 viewers got video: there is no camera named 'nowhere'\n"
    )


def load(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("facewire"))
    fixed = ("--viewers", "3", "--seconds", "1", "--processes", "2", "--pid", str(os.getpid()))
    return subprocess.run(
        [program, "load", url, *fixed, "--json", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def metric(url: str, name: str) -> float:
    with urlopen(f"{url}metrics") as response:
        lines: list[str] = response.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def problems(url: str) -> list[str]:
    with urlopen(f"{url}healthz") as response:
        found: list[str] = json.load(response)["problems"]
    return found
