"""A browser's own camera: sent, shown back with names, and enrolled on the spot."""

import json
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from recognizer import read_image
from stream.frames import TrackState
from stream.video.annotate import COLORS
from tests.e2e.harness import (
    OUTPUT,
    RunningService,
    await_frames,
    await_picture,
    chromium,
    colour_near,
    go,
    keep_screenshots,
    now_ms,
    open_page,
    require_chromium,
    service,
)
from tests.shared_data import photos

pytestmark = pytest.mark.e2e

NAME = "Barack Obama"
N_FRAMES = 75  # three seconds, which Chromium repeats
PREVIEW = 'document.querySelector(".search-snapshot video")'


def make_camera_file(path: Path) -> None:
    """Write a person who moves slowly in front of a camera, 1280x720, as Motion JPEG."""
    photo = read_image(photos() / "obama3.jpg")
    scale = 640 / photo.shape[0]
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = photo.shape[:2]
    with path.open("wb") as file:
        for i in range(N_FRAMES):
            frame = np.full((720, 1280, 3), (70, 84, 98), np.uint8)
            swing = np.sin(2 * np.pi * i / N_FRAMES)
            x, y = round((1280 - width) / 2 + 120 * swing), round(40 + 24 * swing)
            frame[y : y + height, x : x + width] = photo
            _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            file.write(jpeg.tobytes())


def test_own_camera_comes_back_with_a_name(tmp_path: Path) -> None:
    require_chromium()
    film = tmp_path / "camera.mjpeg"
    make_camera_file(film)
    gallery = f"--gallery={tmp_path / 'people'}"
    with (
        service("own-camera", tmp_path, gallery) as facewire,
        chromium(camera_file=film) as browser,
    ):
        page = open_page(browser, facewire.url)
        await_picture(page)
        page.click("#own-camera")
        expect(page.locator("#camera-name")).to_contain_text("This browser")
        expect(page.locator('.face[data-state="unknown"]')).to_be_visible()
        await_picture(page, after=now_ms(page))
        assert page.evaluate("[video.videoWidth, video.videoHeight]") == [1280, 720]

        page.fill("#enroll-name", NAME)
        page.click("#enroll-submit")
        expect(page.locator(f'.face[data-name="{NAME}"]')).to_be_visible()
        expect(page.locator(".toast")).to_contain_text(NAME)
        expect(page.locator("#in-view")).to_contain_text(NAME)
        assert _outline(page, facewire) > 0.15
        await_frames(page)
        keep_screenshots(page, "own-camera")

        page.click("#own-camera")
        expect(page.locator("#camera-name")).to_have_text("demo")
        page.click('.nav [data-view="wall"]')
        expect(page.locator("#wall .tile")).to_have_count(1)
        _search_by_own_camera(page)
    assert (OUTPUT / "own-camera-phone-dark.png").exists()


def _search_by_own_camera(page: Page) -> None:
    go(page, "#/search")
    page.click("#search-own")
    expect(page.locator("#search-own")).to_be_disabled()
    page.wait_for_function(f"() => {PREVIEW}.videoWidth > 0")
    page.get_by_role("button", name="Search this face").click()
    expect(page.locator(f'.search-match[data-name="{NAME}"]').first).to_be_visible()
    expect(page.locator(".search-snapshot")).to_be_hidden()
    expect(page.locator("#search-own")).to_be_enabled()
    assert page.evaluate(f"() => {PREVIEW}.srcObject.getTracks()[0].readyState") == "ended"


def _outline(page: Page, facewire: RunningService) -> float:
    """Return the fraction of the face's outline that has its color in the received pixels."""
    own = page.url.rpartition("/")[2]
    best = 0.0
    while best <= 0.15:
        with urlopen(f"{facewire.url}api/cameras/{own}/tracks") as answer:
            tracks = json.load(answer)["tracks"]
        shares = [colour_near(page, t["box"], COLORS[TrackState.KNOWN]) for t in tracks]
        best = max([best, *shares])
    return best
