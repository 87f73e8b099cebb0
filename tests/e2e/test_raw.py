"""The page draws the faces itself over raw video: as switched there, or asked by /?raw=1."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.harness import (
    OUTPUT,
    PATIENCE_S,
    await_picture,
    chromium,
    now_ms,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e

# Number of pixels drawn on the canvas, of frames with their own faces, and of all frames.
LOOK = """() => {
  const canvas = document.querySelector("canvas.raw-faces");
  if (!canvas.width) return [0, 0, 0];
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0;
  return [drawn, Number(canvas.dataset.exact), Number(canvas.dataset.frames)];
}"""


def test_the_page_draws_the_faces_of_raw_video(tmp_path: Path) -> None:
    require_chromium()
    with service("raw", tmp_path) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}?raw=1#/live/demo")
        await_picture(page)
        _await_drawn_faces(page)
        page.screenshot(path=OUTPUT / "raw.png")


def test_a_switch_by_keyboard_chooses_who_draws_and_is_remembered(tmp_path: Path) -> None:
    require_chromium()
    with service("raw-switch", tmp_path) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}#/live/demo")
        await_picture(page)
        switch = page.get_by_role("switch", name="Draw boxes and names in this browser")
        expect(switch).not_to_be_checked()
        page.locator("#fullscreen").focus()
        page.keyboard.press("Tab")
        expect(switch).to_be_focused()
        page.keyboard.press("Space")
        expect(switch).to_be_checked()
        _await_drawn_faces(page)
        page.reload()
        await_picture(page)
        expect(switch).to_be_checked()
        expect(page.locator("canvas.raw-faces")).to_have_count(1)
        page.get_by_text("Draw boxes and names").click()
        expect(switch).not_to_be_checked()
        expect(page.locator("canvas.raw-faces")).to_have_count(0)
        await_picture(page, after=now_ms(page))


def _await_drawn_faces(page: Page) -> None:
    deadline = time.monotonic() + PATIENCE_S
    n_drawn = n_exact = n_frames = 0
    while n_drawn < 2000 or n_exact < 20:
        assert time.monotonic() < deadline, (n_drawn, n_exact, n_frames)
        time.sleep(0.2)
        n_drawn, n_exact, n_frames = page.evaluate(LOOK)
    assert n_exact >= 0.5 * n_frames, "most pictures find their own faces"
