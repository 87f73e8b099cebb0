"""The first start: the demo camera, its names, and naming a stranger."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from stream.frames import TrackState
from stream.video.annotate import COLORS
from tests.e2e.harness import (
    AFTER_LAYOUT,
    PATIENCE_S,
    RunningService,
    await_frames,
    await_picture,
    chromium,
    colour_near,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e

NAMES = ("Barack Obama", "Joe Biden", "Grace Hopper")
STRANGER = "Eileen Collins"
SMALL = (480, 360)  # drawing three large pages would take the processor from what is measured


def test_demo_shows_names_and_learns_a_stranger(tmp_path: Path) -> None:
    require_chromium()
    with service("demo", tmp_path) as facewire, chromium() as browser:
        page = open_page(browser, facewire.url)
        await_picture(page)
        expect(page.locator("#demo")).to_contain_text("Demo")

        await_frames(page)
        size = page.evaluate("[video.videoWidth, video.videoHeight]")
        assert size == [1280, 720]

        for name in NAMES:
            arrival = page.locator(f'.event[data-kind="enter"][data-name="{name}"]')
            expect(arrival.first).to_be_visible(timeout=PATIENCE_S * 1000)
        assert _best_outline(page, facewire, TrackState.KNOWN) > 0.15

        _name_the_stranger(page, facewire)
        keep_screenshots(page, "demo")


def _name_the_stranger(page: Page, facewire: RunningService) -> None:
    stranger = page.locator('.face[data-state="unknown"]')
    expect(stranger.first).to_be_visible(timeout=PATIENCE_S * 1000)
    assert _best_outline(page, facewire, TrackState.UNKNOWN) > 0.15
    stranger.first.click(force=True)  # she moves, so that she never counts as stable
    page.screenshot(path=Path("test-output") / "demo-naming.png")
    page.fill("#name-input", STRANGER)
    page.click("#name-save")
    expect(page.locator(f'.face[data-name="{STRANGER}"]')).to_be_visible()
    # beside it may be the offer to name what was seen of her before
    expect(page.locator(".toast", has_text=f"Saved as {STRANGER}")).to_be_visible()
    page.click("#nav-people")
    expect(page.locator(f'.person[data-name="{STRANGER}"]')).to_be_visible()
    page.evaluate(AFTER_LAYOUT)
    page.screenshot(path=Path("test-output") / "demo-people.png")
    page.go_back()
    # She is named from then on.
    expect(page.locator('.face[data-state="unknown"]')).to_have_count(0)
    await_frames(page)
    expect(page.locator('.face[data-state="unknown"]')).to_have_count(0)


def _best_outline(page: Page, facewire: RunningService, state: TrackState) -> float:
    """Return the maximum fraction of a face's outline that has its state's color in the pixels."""
    best = 0.0
    while best <= 0.15:  # the scene goes round and round
        with urlopen(f"{facewire.url}api/cameras/demo/tracks") as answer:
            tracks = json.load(answer)["tracks"]
        boxes = [track["box"] for track in tracks if track["state"] == state]
        best = max([best, *(colour_near(page, box, COLORS[state]) for box in boxes)])
    return best


def test_viewers_who_join_see_a_moving_picture(tmp_path: Path) -> None:
    require_chromium()
    with service("join", tmp_path) as facewire, chromium() as browser:
        pages: list[Page] = []
        for _ in range(3):
            pages.append(open_page(browser, facewire.url, size=SMALL))
            await_picture(pages[-1])
        for page in pages:
            await_frames(page)
