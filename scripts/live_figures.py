"""Measure start, join, stop and frame rates of the page: scripts/live_figures.py --seconds 10.

Starts the service with the demo, opens its page in Chromium, and reports the times until the page
responds, until each page shows a frame, and until the service has ended after Ctrl-C, and the frame
rate of each page. `facewire bench stream` reports the service's own rates and latencies.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stream.bench.stream import machine
from tests.e2e.harness import await_picture, chromium, open_page, service

SMALL = (480, 360)  # drawing large pages takes CPU time from the service


@dataclass(frozen=True, slots=True)
class Report:
    """The measured figures.

    Attributes:
        start_s: from the command until the page responds.
        join_s: from opening each page until it shows a frame.
        fps: frames per second that each page showed.
        stop_s: from Ctrl-C until the process has ended, with all pages open.
        machine: processor and system.
        load: of the machine before, processes.
    """

    start_s: float
    join_s: list[float]
    fps: list[float]
    stop_s: float
    machine: str
    load: float


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(options.pages, options.seconds)
    if options.json:
        print(json.dumps(asdict(report)))
        return
    print(f"{report.machine}; load before: {report.load:.2f}")
    print(f"start {report.start_s:.1f} s, stop {report.stop_s:.1f} s")
    for number, (join_s, fps) in enumerate(zip(report.join_s, report.fps, strict=True), 1):
        print(f"page {number}: first frame after {join_s:.2f} s, then {fps:.1f} frames per second")


def measure(n_pages: int, seconds: float) -> Report:
    """Return the figures of pages opened one after another, all showing video for some seconds."""
    load = os.getloadavg()[0]
    join_s: list[float] = []
    with tempfile.TemporaryDirectory() as data, chromium() as browser:
        began = time.monotonic()
        with service("live-figures", Path(data)) as facewire:
            start_s = time.monotonic() - began
            pages = []
            for _ in range(n_pages):
                began = time.monotonic()
                pages.append(open_page(browser, f"{facewire.url}#/live/demo", size=SMALL))
                await_picture(pages[-1])
                join_s.append(time.monotonic() - began)
            before = [page.evaluate("window.shown.length") for page in pages]
            pages[0].wait_for_timeout(seconds * 1000)
            after = [page.evaluate("window.shown.length") for page in pages]
            began = time.monotonic()
        stop_s = time.monotonic() - began
    return Report(
        start_s=start_s,
        join_s=join_s,
        fps=[(last - first) / seconds for first, last in zip(before, after, strict=True)],
        stop_s=stop_s,
        machine=machine(),
        load=load,
    )


if __name__ == "__main__":
    main()
