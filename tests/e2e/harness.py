"""The real service in a separate process, and Debian's Chromium with its page."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
OUTPUT = Path(__file__).parents[2] / "test-output"
PATIENCE_S = 300.0  # other programs may use the CPU; only a hang takes this long
expect.set_options(timeout=PATIENCE_S * 1000)

# Counts the frames shown to a person, from the start of the page.
COUNT_FRAMES = """
window.shown = [];
document.addEventListener("DOMContentLoaded", () => {
  window.loadedAt = performance.now();
  const video = document.getElementById("video");
  const count = () => {
    window.shown.push(performance.now());
    video.requestVideoFrameCallback(count);
  };
  video.requestVideoFrameCallback(count);
});
"""

AFTER_LAYOUT = """() => new Promise((resolve) => {
    const settled = () => Promise.allSettled(document.getAnimations()
        .filter((each) => each.effect?.getComputedTiming().endTime !== Infinity)
        .map((each) => each.finished)).then(() => resolve());
    requestAnimationFrame(() => requestAnimationFrame(settled));
})"""
"""Waits until the page is drawn and its transitions have ended; spinners have no end."""


def require(reason: str) -> None:
    """Skip the test if there is a reason, or fail it if skipping is forbidden."""
    if reason and os.environ.get("FACEWIRE_NO_SKIP") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def require_chromium() -> None:
    require("" if CHROMIUM.exists() else "no Chromium: apt-get install chromium")


class RunningService:
    """`facewire serve` as a person starts it, with its own data.

    Attributes:
        url: of the page.
        log: file of its output.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log


@contextmanager
def service(
    name: str,
    data: Path,
    *arguments: str,
    port: int = 0,
    token: str = "",
    viewer_token: str = "",
) -> Iterator[RunningService]:
    """Start the service, and stop it by Ctrl-C.

    Args:
        name: of its log in test-output/.
        data: directory of people and events.
        arguments: of `facewire serve`.
        port: to listen on; 0 for a free one.
        token: that it requires; empty for none.
        viewer_token: that allows to watch and read; empty for none.
    """
    OUTPUT.mkdir(exist_ok=True)
    # Of two processes that run tests, each writes its own.
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    log = OUTPUT / (f"{name}-{worker}.log" if worker else f"{name}.log")
    command = [str(Path(sys.executable).with_name("facewire")), "serve", f"--port={port}"]
    environment = {**os.environ, "FACEWIRE_DATA": str(data)}
    if token:
        environment["FACEWIRE_TOKEN"] = token
    if viewer_token:
        environment["FACEWIRE_VIEWER_TOKEN"] = viewer_token
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *arguments], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
    try:
        url = await_address(process, log)
        yield RunningService(process, url, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the service did not stop within {PATIENCE_S} s of Ctrl-C")
    assert "Traceback" not in log.read_text(), f"see {log}"


def await_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address of a service's page, once the service reports it."""
    until = time.monotonic() + PATIENCE_S
    while True:
        text = log.read_text()
        if found := re.search(r"^facewire is on http://\S+:(\d+)\s", text, re.MULTILINE):
            return f"http://127.0.0.1:{found[1]}/"
        assert process.poll() is None, f"the service ended:\n{text}"
        assert time.monotonic() < until, f"the service did not answer in {PATIENCE_S} s:\n{text}"
        time.sleep(0.05)


_complaints: list[str] = []
"""What the pages of the open browser logged as errors."""


@contextmanager
def chromium(*, camera_file: Path | None = None) -> Iterator[Browser]:
    """Start Chromium, with a .mjpeg or .y4m file or a test pattern as its camera.

    Errors logged by its pages fail the test at the end.
    """
    _complaints.clear()
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
    ]
    if camera_file is not None:
        arguments.append(f"--use-file-for-fake-video-capture={camera_file}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, timeout=PATIENCE_S * 1000
        )
        try:
            yield browser
        finally:
            browser.close()
    assert not _complaints, "; ".join(_complaints)


def open_page(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = (1280, 800),
    scheme: Literal["light", "dark"] = "light",
) -> Page:
    """Open the page in a new context; an error that it logs fails the test.

    Args:
        browser: a started browser.
        url: the page's.
        size: (width, height) of the window.
        scheme: "light" or "dark".
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.add_init_script(COUNT_FRAMES)
    page.on("pageerror", lambda error: _complaints.append(f"the page failed: {error}"))
    page.on("console", _note_error)
    page.goto(url)
    return page


def _note_error(message: object) -> None:
    # Recorded, not raised: an exception in a callback ends the connection to the browser.
    text = getattr(message, "text", "")
    # The page itself reports a missing image, and a service that is restarting.
    is_network = re.search(r"Failed to load resource|WebSocket connection", text)
    if getattr(message, "type", "") == "error" and not is_network:
        _complaints.append(f"the page logged: {text}")


def go(page: Page, hash_: str) -> None:
    """Go to a view by its address, such as "#/live/door"."""
    page.evaluate("hash => { location.hash = hash; }", hash_)


def await_picture(page: Page, *, after: float = 0.0) -> float:
    """Wait for a frame on the page; return when it was shown, milliseconds since its start."""
    handle = page.wait_for_function(
        "after => window.shown.findLast(at => at > after)",
        arg=after,
        timeout=PATIENCE_S * 1000,
        polling=50,
    )
    return float(handle.json_value())


def now_ms(page: Page) -> float:
    """Return the page's clock, which `await_picture` uses."""
    return float(page.evaluate("performance.now()"))


def await_frames(page: Page, n: int = 50) -> None:
    """Wait until a number of further frames were shown: the video is running."""
    page.wait_for_function(
        "wanted => window.shown.length >= wanted",
        arg=page.evaluate("window.shown.length") + n,
        timeout=PATIENCE_S * 1000,
    )


def keep_screenshots(page: Page, name: str) -> None:
    """Save screenshots of the page as CI output: wall, laptop and phone, dark and light."""
    for label, width, height in (("wall", 2560, 1440), ("laptop", 1280, 800), ("phone", 390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(AFTER_LAYOUT)
            page.screenshot(path=OUTPUT / f"{name}-{label}-{scheme}.png")


def colour_near(
    page: Page, box: Sequence[float], colour: tuple[int, int, int], *, reach: int = 14
) -> float:
    """Return the fraction of a color in the image around the four edges of a box.

    Args:
        page: with an image.
        box: x1 y1 x2 y2 in the image's pixels.
        colour: RGB; encoded pixels within 60 of it in sum count.
        reach: pixels around each edge that are compared.
    """
    return float(
        page.evaluate(
            """([box, colour, reach]) => {
                const video = document.getElementById("video");
                const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
                const context = canvas.getContext("2d");
                context.drawImage(video, 0, 0);
                const { data, width, height } =
                    context.getImageData(0, 0, canvas.width, canvas.height);
                const [x1, y1, x2, y2] = box.map(Math.round);
                let near = 0;
                for (let y = Math.max(0, y1 - reach); y < Math.min(height, y2 + reach); y++) {
                    for (let x = Math.max(0, x1 - reach); x < Math.min(width, x2 + reach); x++) {
                        const isInside = x > x1 + reach && x < x2 - reach &&
                            y > y1 + reach && y < y2 - reach;
                        if (isInside) continue;
                        const i = 4 * (y * width + x);
                        const away = Math.abs(data[i] - colour[0]) +
                            Math.abs(data[i + 1] - colour[1]) + Math.abs(data[i + 2] - colour[2]);
                        near += away < 60;
                    }
                }
                return near / (2 * (x2 - x1 + y2 - y1));
            }""",
            [list(box), list(colour), reach],
        )
    )
