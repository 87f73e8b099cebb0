"""Measure start, join, stop and frame rates of the page: scripts/live_figures.py --seconds 10.

Starts the service with the demo, opens its page in Chromium, and reports the times until the page
responds, until each page shows a frame, and until the service has ended after Ctrl-C, and the frame
rate of each page. `facewire bench stream` reports the service's own rates and latencies.

With --names N it also names a visitor in view N times, and reports the times until its past events,
the live faces and the annotated video have the name.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from playwright.sync_api import Page

from stream.bench.stream import machine
from stream.frames import TrackState
from stream.video.annotate import COLORS
from tests.e2e.films import film_of
from tests.e2e.harness import await_picture, chromium, open_page, service

SMALL = (480, 360)  # drawing large pages takes CPU time from the service


@dataclass(frozen=True, slots=True)
class Named:
    """Seconds from the request that names a visitor, by repetition.

    Attributes:
        answer_s: until it is answered.
        events_s: until all of the visitor's past events have the name, read over HTTP.
        faces_s: until the page receives the face in view with the name.
        video_s: until the page shows a frame of the annotated video in which it has the color of
            a known face.
        n_events: the fewest past events.
    """

    answer_s: list[float]
    events_s: list[float]
    faces_s: list[float]
    video_s: list[float]
    n_events: int


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
        named: of a visitor that was named; None if none was.
    """

    start_s: float
    join_s: list[float]
    fps: list[float]
    stop_s: float
    machine: str
    load: float
    named: Named | None


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--names", type=int, default=0, help="how often to name a visitor")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(options.pages, options.seconds, options.names)
    if options.json:
        print(json.dumps(asdict(report)))
        return
    print(f"{report.machine}; load before: {report.load:.2f}")
    print(f"start {report.start_s:.1f} s, stop {report.stop_s:.1f} s")
    for number, (join_s, fps) in enumerate(zip(report.join_s, report.fps, strict=True), 1):
        print(f"page {number}: first frame after {join_s:.2f} s, then {fps:.1f} frames per second")
    if report.named is not None:
        print(f"a visitor with {report.named.n_events} past events and more is named, seconds:")
        for what, times in (
            ("the answer", report.named.answer_s),
            ("its past events have the name", report.named.events_s),
            ("the live faces have it", report.named.faces_s),
            ("the video shows it", report.named.video_s),
        ):
            p50, p95 = np.percentile(times, (50, 95))
            print(f"  {what}: p50 {p50:.2f}, p95 {p95:.2f}, longest {max(times):.2f}")


def measure(n_pages: int, seconds: float, n_names: int) -> Report:
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
        named=measure_naming(n_names) if n_names else None,
    )


def measure_naming(n: int) -> Named:
    """Return the times after a stranger who comes again and again was named in view."""
    found = []
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        data = Path(scratch)
        film = film_of(data / "door.avi", ("obama.jpg",))
        config = data / "facewire.toml"
        config.write_text(
            f'[[cameras]]\nname = "door"\nurl = "{film}"\nloop = true\n'
            "[events]\nabsence_s = 1.0\ncooldown_s = 1.0\n[visitors]\nenabled = true\n"
        )
        arguments = (f"--config={config}", f"--gallery={data / 'people'}")
        with service("live-figures-names", data, *arguments) as facewire:
            page = open_page(browser, f"{facewire.url}#/live/door")
            await_picture(page)
            page.evaluate(FOLLOW, [list(COLORS[TrackState.KNOWN])])
            for _ in range(n):
                found.append(_name_once(page))
    return Named(
        answer_s=[each["answer"] for each in found],
        events_s=[each["events"] for each in found],
        faces_s=[each["faces"] for each in found],
        video_s=[each["video"] for each in found],
        n_events=int(min(each["n"] for each in found)),
    )


def _name_once(page: Page) -> dict[str, float]:
    """Name the visitor while it is in view, and erase the person again."""
    return dict(page.evaluate(NAME_ONCE))


# What the page receives and shows, with its own clock: a WebSocket beside the page's own, and each
# frame of its video. A face's label covers 1 % of the frame.
FOLLOW = """([green]) => {
    window.faces = { tracks: [], at: 0 };
    const address = new URL("api/ws", document.baseURI);
    address.protocol = "ws:";
    const socket = new WebSocket(address);
    const follow = JSON.stringify({ type: "follow", camera: "door" });
    socket.addEventListener("open", () => socket.send(follow));
    socket.addEventListener("message", ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "tracks" && message.camera === "door") {
            window.faces = { tracks: message.tracks, at: performance.now() };
            if (message.tracks.some(({ name }) => name)) window.namedAt ??= performance.now();
        }
    });
    const video = document.getElementById("video");
    const canvas = new OffscreenCanvas(320, 240);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const look = () => {
        context.drawImage(video, 0, 0, 320, 240);
        const { data } = context.getImageData(0, 0, 320, 240);
        let near = 0;
        for (let i = 0; i < data.length; i += 4) {
            near += Math.abs(data[i] - green[0]) + Math.abs(data[i + 1] - green[1]) +
                Math.abs(data[i + 2] - green[2]) < 60;
        }
        if (near > 0.003 * 320 * 240) window.greenAt ??= performance.now();
        video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
}"""

NAME_ONCE = """async () => {
    const read = async (path) => (await fetch(path)).json();
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const isUnknown = () => window.faces.tracks.some(({ state }) => state === "unknown");
    // A visitor who came before, at the beginning of its next stay: it stays in view for seconds.
    let visitor = null;
    let before = false;
    for (;;) {
        const now = isUnknown();
        if (now && !before) {
            const { visitors } = await read("api/visitors");
            visitor = visitors.find(({ visit_count: n }) => n >= 3) ?? null;
            if (visitor) break;
        }
        before = now;
        await pause(20);
    }
    await pause(500 + 1000 * Math.random());
    const past = (await read("api/events?limit=1000&kind=unknown")).events;
    const ids = new Set(past.map(({ id }) => id));
    window.namedAt = window.greenAt = undefined;
    const began = performance.now();
    const since = () => (performance.now() - began) / 1000;
    let answer = 0;
    const naming = fetch(`api/visitors/${visitor.visitor_id}/name`, {
        method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: "Ada" }) }).then(async (response) => {
            if (!response.ok) throw new Error(await response.text());
            answer = since();
            return response.json();
        });
    let events = 0;
    while (!events) {
        const { events: named } = await read("api/events?limit=1000&kind=unknown&name=Ada");
        if (named.filter(({ id }) => ids.has(id)).length === ids.size) events = since();
        await pause(5);
    }
    const { identity_id: id } = await naming;
    while (!window.namedAt || !window.greenAt) await pause(5);
    const times = { answer, events, n: ids.size,
        faces: (window.namedAt - began) / 1000, video: (window.greenAt - began) / 1000 };
    await fetch(`api/identities/${id}`, { method: "DELETE" });
    while (window.faces.tracks.some(({ name }) => name)) await pause(20);
    return times;
}"""


if __name__ == "__main__":
    main()
