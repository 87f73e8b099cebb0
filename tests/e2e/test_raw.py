"""The page draws the faces itself over raw video, where it is asked to by /?raw=1."""

from pathlib import Path

import pytest

from tests.e2e.harness import OUTPUT, await_picture, chromium, open_page, require_chromium, service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# How many pixels of the canvas are drawn on.
DRAWN = """() => {
  const canvas = document.querySelector("canvas.raw-faces");
  if (!canvas || !canvas.width) return 0;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0;
  return drawn;
}"""


def test_the_page_draws_the_faces_of_raw_video(tmp_path: Path) -> None:
    require_chromium()
    with service("raw", tmp_path) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}?raw=1#/live/demo")
        await_picture(page)
        page.wait_for_function(f"({DRAWN})() > 2000", timeout=60_000)
        page.screenshot(path=OUTPUT / "raw.png")
