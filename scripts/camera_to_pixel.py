"""Measure the latency from camera to browser: scripts/camera_to_pixel.py --minutes 1.

A real RTSP server sends the demo's lobby in 1280x720 at 25 frames per second. A strip at the bottom
of each frame encodes, in black and white cells, the time at which it entered the camera's encoder.
The service runs as usual; Chromium watches over WebRTC, reads the strip of every frame that it
shows, and compares it with the clock of the same machine. `creep` is the median of the last third
minus that of the first.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer import default_cache, fetch_photos
from stream.bench.stream import machine
from stream.demo.scene import HEIGHT, WIDTH, DemoScene
from stream.video.encoder import Encoder

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.e2e.harness import await_picture, chromium, open_page, service
from tests.rtsp_server import RtspServer, why_unavailable

FPS = 25
CELLS, TIME_BITS, CHECK_BITS = 32, 24, 6
"""White, black, 24 bits of the time in ms (4.6 hours go round), and its remainder by CHECK."""

CHECK = 61
STRIP_HEIGHT = 32  # pixels; two macroblocks, so that compression keeps the cells apart
WARM_UP_S = 3.0  # joining is measured separately from watching

# `at` is when the frame is due on the screen, not when the page is notified of it.
READ_STRIPS = """([cells, strip, check]) => {
  const video = document.getElementById("video");
  const canvas = new OffscreenCanvas(8 * cells, 4);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  window.readings = [];
  const read = (_, { expectedDisplayTime }) => {
    const at = Date.now() + Math.max(0, expectedDisplayTime - performance.now());
    const { videoWidth: width, videoHeight: height } = video;
    const top = height * (1 - 0.75 * strip);
    context.drawImage(video, 0, top, width, 0.5 * strip * height, 0, 0, canvas.width, 4);
    const { data } = context.getImageData(0, 2, canvas.width, 1);
    const bits = Array.from({ length: cells }, (_, i) => Number(data[4 * (8 * i + 4)] > 127));
    const number = (from, to) => bits.slice(from, to).reduce((sum, bit) => 2 * sum + bit, 0);
    const sent = number(2, 26);
    const isRead = bits[0] === 1 && bits[1] === 0 && sent % check === number(26, cells);
    const latency = (((at - sent) % 2 ** 24) + 2 ** 24) % 2 ** 24;
    window.readings.push(isRead ? latency : null);
    video.requestVideoFrameCallback(read);
  };
  video.requestVideoFrameCallback(read);
}"""


@dataclass(frozen=True, slots=True)
class Report:
    """The measured figures; milliseconds if not stated otherwise."""

    seconds: float
    n_read: int
    n_unread: int
    p50: float
    p95: float
    p99: float
    largest: float
    creep: float
    machine: str
    browser: str
    load: float


def main() -> None:
    """Serve the camera, watch it, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := why_unavailable():
        sys.exit(reason)
    report = measure(options.minutes * 60)
    if options.json:
        print(json.dumps(asdict(report)))
        return
    print(
        f"camera to pixel over RTSP and WebRTC, {WIDTH}x{HEIGHT} at {FPS}, {report.seconds:.0f} s"
    )
    print(f"{report.machine}; {report.browser}; load before: {report.load:.2f}")
    print(f"p50 {report.p50:.0f} ms, p95 {report.p95:.0f} ms, p99 {report.p99:.0f} ms, ", end="")
    print(f"largest {report.largest:.0f} ms, creep {report.creep:+.1f} ms")
    print(f"{report.n_read} frames read, {report.n_unread} not readable")


def measure(seconds: float) -> Report:
    """Return the figures of watching for some time.

    Raises:
        SystemExit: if no frame's strip could be read.
    """
    load = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        camera = stack.enter_context(RtspServer(is_fed=True))
        stack.enter_context(filming(camera))
        arguments = (f"--camera=lobby={camera.url}", f"--gallery={data / 'people'}")
        facewire = stack.enter_context(service("camera-to-pixel", data, *arguments))
        browser = stack.enter_context(chromium())
        page = open_page(browser, f"{facewire.url}#/live/lobby")
        await_picture(page)
        page.wait_for_timeout(WARM_UP_S * 1000)
        page.evaluate(READ_STRIPS, [CELLS, STRIP_HEIGHT / HEIGHT, CHECK])
        page.wait_for_timeout(seconds * 1000)
        readings = page.evaluate("window.readings")
        name = f"Chromium {browser.version}"
    read = np.array([each for each in readings if each is not None], np.float64)
    if len(read) < 3:
        sys.exit(f"only {len(read)} of {len(readings)} frames could be read")
    third = len(read) // 3
    p50, p95, p99 = np.percentile(read, (50, 95, 99))
    return Report(
        seconds=seconds,
        n_read=len(read),
        n_unread=len(readings) - len(read),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        largest=float(read.max()),
        creep=float(np.median(read[-third:]) - np.median(read[:third])),
        machine=machine(),
        browser=name,
        load=load,
    )


@contextlib.contextmanager
def filming(camera: RtspServer) -> Iterator[None]:
    """Feed a camera with frames that show their time, until the context ends."""
    scene, over = DemoScene(fetch_photos(default_cache(), None)), threading.Event()

    def film() -> None:
        encoder, began = Encoder(WIDTH, HEIGHT, FPS), time.monotonic()
        number = 0
        while not over.wait(max(0.0, began + number / FPS - time.monotonic())):
            image = scene.render(number / FPS).copy()
            stamp(image, round(time.time() * 1000))
            is_keyframe = number % FPS == 0  # each second, as IP cameras do
            packets = encoder.encode(image, number / FPS, keyframe=is_keyframe)
            camera.feed(b"".join(bytes(packet) for packet in packets))
            number += 1

    thread = threading.Thread(target=film, name="film")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stamp(image: NDArray[np.uint8], time_ms: int) -> None:
    """Write a time into the strip at the bottom of a frame, (H, W, 3) uint8 RGB."""
    sent = time_ms % 2**TIME_BITS
    text = f"10{sent:0{TIME_BITS}b}{sent % CHECK:0{CHECK_BITS}b}"
    cells = np.array([255 * int(bit) for bit in text], np.uint8)
    image[-STRIP_HEIGHT:] = np.repeat(cells, WIDTH // CELLS)[None, :, None]


if __name__ == "__main__":
    main()
