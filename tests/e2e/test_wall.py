"""Many cameras: the wall, each one's view and settings, and the timeline of what happened."""

import json
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.films import still_film
from tests.e2e.harness import (
    PATIENCE_S,
    RunningService,
    await_picture,
    chromium,
    go,
    keep_screenshots,
    now_ms,
    open_page,
    require_chromium,
    service,
)
from tests.ports import HeldPort
from tests.shared_data import shared_data
from tests.web_camera import WebCamera, jpeg, ok

pytestmark = pytest.mark.e2e

STRANGER = "नीना सिम"
FULL_WIDTH = 1280  # of the demo
WIDTHS = """() => Object.fromEntries(
    [...document.querySelectorAll('#wall li[data-state="playing"]')].map(
        (tile) => [tile.dataset.camera, tile.querySelector("video").videoWidth]))"""


def test_wall_live_view_timeline_and_settings(tmp_path: Path) -> None:
    require_chromium()
    nobody = HeldPort()
    cameras = (
        "--camera=lobby=demo:",
        f"--camera=stage={shared_data('video/short_hamilton_clip.mp4')}",
        f"--camera=yard=rtsp://admin:hush-hush@127.0.0.1:{nobody.port}/live",
        f"--gallery={tmp_path / 'people'}",
    )
    with nobody, service("wall", tmp_path, *cameras) as facewire, chromium() as browser:
        page = open_page(browser, facewire.url)
        _look_at_the_wall(page, facewire)
        _open_a_camera_and_come_back(page)
        _name_a_stranger_of_the_timeline(page)
        _narrow_the_timeline(page)
        _change_a_camera(page, facewire)
        assert "hush-hush" not in page.content()


def _look_at_the_wall(page: Page, facewire: RunningService) -> None:
    tiles = page.locator("#wall li")
    expect(tiles).to_have_count(3)
    for name in ("lobby", "stage"):
        tile = page.locator(f'#wall [data-camera="{name}"]')
        expect(tile).to_have_attribute("data-state", "playing")
    yard = page.locator('#wall [data-camera="yard"]')
    expect(yard).to_contain_text("No video from yard")
    expect(page.get_by_role("link", name="lobby: live")).to_be_visible()
    _await_widths(page, {"lobby": FULL_WIDTH // 2, "stage": 320})
    keep_screenshots(page, "wall")
    page.set_viewport_size({"width": 390, "height": 844})
    boxes = [tiles.nth(i).bounding_box() for i in range(3)]
    assert len({box["x"] for box in boxes if box}) == 1, "one column"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 390, "height": 320})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    _await_viewers(facewire, "lobby", 0)  # out of sight, it is not sent
    page.set_viewport_size({"width": 1280, "height": 800})
    page.evaluate("scrollTo(0, 0)")
    _await_viewers(facewire, "lobby", 1)


def _await_widths(page: Page, expected: dict[str, int]) -> None:
    """Wait until each tile that plays shows a video of its width in pixels."""
    until = time.monotonic() + PATIENCE_S
    while (widths := page.evaluate(WIDTHS)) != expected:
        assert time.monotonic() < until, widths
        time.sleep(0.2)


def _await_viewers(facewire: RunningService, camera: str, wanted: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with urlopen(f"{facewire.url}api/cameras/{camera}") as answer:
            if json.load(answer)["viewers"] == wanted:
                return
        time.sleep(0.2)
    pytest.fail(f"camera {camera} never had {wanted} viewers")


def _open_a_camera_and_come_back(page: Page) -> None:
    page.get_by_role("link", name="lobby: live").click()
    expect(page.locator("#camera-name")).to_be_focused()
    await_picture(page, after=now_ms(page))
    assert page.evaluate("document.getElementById('video').videoWidth") == FULL_WIDTH
    face = page.locator('#in-view [data-state="unknown"]').first
    expect(face).to_contain_text("Unknown face")
    keep_screenshots(page, "live")
    page.get_by_role("link", name="Next camera").click()
    expect(page.locator("#camera-name")).to_have_text("stage")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("link", name="lobby: ")).to_be_focused()


def _name_a_stranger_of_the_timeline(page: Page) -> None:
    go(page, "#/live/lobby")
    known = page.locator(f'#in-view [data-name="{STRANGER}"]')
    page.locator("#in-view").get_by_role("button", name="Name this face").first.click()
    page.fill("#name-input", STRANGER)
    page.click("#name-save")
    expect(known.first).to_be_visible()
    page.click('.nav [data-view="events"]')
    expect(page.locator(f'#event-list [data-name="{STRANGER}"]').first).to_be_visible()
    unknown = page.locator('#event-list [data-kind="unknown"]')
    unknown.get_by_role("button", name="Name").last.click()
    expect(page.locator("#name-title")).to_have_text("Who was this?")
    page.keyboard.press("Escape")


def _narrow_the_timeline(page: Page) -> None:
    page.select_option("#filter-kind", "cameras")
    page.select_option("#filter-camera", "lobby")
    expect(page.locator("#event-list .event")).to_have_count(1)
    expect(page.locator("#event-list")).to_contain_text("Is live")
    assert page.url.endswith("#/events?kind=cameras&camera=lobby")
    page.fill("#filter-day", "2001-02-03")
    expect(page.locator("#events-empty")).to_have_text("No events match these filters.")
    page.click("#filter-reset")
    expect(page.locator("#event-list .event").nth(1)).to_be_visible()
    expect(page.locator("#event-list .day")).to_have_text(["Today"])
    keep_screenshots(page, "timeline")


def _change_a_camera(page: Page, facewire: RunningService) -> None:
    page.click('.nav [data-view="settings"]')
    expect(page.locator("#about")).to_contain_text("Events are kept for")
    card = page.locator('.camera-item[data-camera="stage"]')
    card.get_by_role("button", name="Change").click()
    page.fill("#camera-form-face", "60")
    page.select_option("#camera-form-rotation", "180")
    page.fill("#region-x2", "50")
    keep_screenshots(page, "camera-form")
    page.click("#camera-form-connection summary")
    page.fill("#camera-form-read", "20")
    page.fill("#camera-form-aspect", "1:1")
    page.select_option("#camera-form-deinterlace", "off")
    page.uncheck("#camera-form-tls")
    page.locator("#camera-form-tls").scroll_into_view_if_needed()
    keep_screenshots(page, "camera-form-connection")
    page.click("#camera-save")
    expect(card).to_contain_text(
        "Faces from 60 pixels · rotated by 180° · part of the image · pixel aspect ratio 1:1 · "
        "deinterlacing off · certificate not verified"
    )
    with urlopen(f"{facewire.url}api/cameras/stage") as answer:
        settings = json.load(answer)["settings"]
    assert settings["region"] == [0, 0, 0.5, 1]
    assert settings["min_face_px"] == 60
    assert (settings["read_timeout_s"], settings["open_timeout_s"]) == (20, 10)
    assert (settings["pixel_aspect"], settings["deinterlace"]) == ("1:1", "off")
    assert settings["verify_tls"] is False

    card.get_by_role("switch").click()
    expect(card).to_have_attribute("data-state", "off")
    keep_screenshots(page, "settings")
    go(page, "#/live/stage")
    expect(page.locator("#veil-title")).to_have_text("Stage is off")
    page.click("#veil-action")
    await_picture(page, after=now_ms(page))


def test_an_empty_wall_says_what_to_do(tmp_path: Path) -> None:
    require_chromium()
    arguments = ("--camera=lobby=demo:", f"--gallery={tmp_path / 'people'}")
    with service("wall-empty", tmp_path, *arguments) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}#/wall")
        alone = page.locator('#wall [data-camera="lobby"]')
        expect(alone).to_have_attribute("data-state", "playing")
        _await_widths(page, {"lobby": FULL_WIDTH})
        page.click('.nav [data-view="settings"]')
        page.get_by_role("button", name="Remove lobby").click()
        page.click("#confirm-yes")
        expect(page.locator("#cameras-empty")).to_be_visible()
        page.click('.nav [data-view="wall"]')
        expect(page.locator("#wall-empty")).to_contain_text("No camera yet")
        page.get_by_role("button", name="Add a camera").click()
        expect(page.locator("#camera-form-name")).to_be_focused()


def test_a_frozen_camera_is_told_from_a_live_one(tmp_path: Path) -> None:
    require_chromium()
    with WebCamera(lambda asked, number: ok("image/jpeg", jpeg(3), length=True)) as camera:
        arguments = (f"--camera=porch={camera.url()}", f"--gallery={tmp_path / 'people'}")
        with service("wall-frozen", tmp_path, *arguments) as facewire, chromium() as browser:
            page = open_page(browser, f"{facewire.url}#/settings")
            card = page.locator('.camera-item[data-camera="porch"]')
            expect(card).to_have_attribute("data-state", "live")
            card.get_by_role("button", name="Change").click()
            page.click("#camera-form-connection summary")
            page.fill("#camera-form-frozen", "1")
            page.click("#camera-save")
            expect(card).to_have_attribute("data-state", "frozen")
            expect(card).to_contain_text("The same frame for 1 s")
            page.click('.nav [data-view="wall"]')
            tile = page.locator('#wall [data-camera="porch"]')
            expect(tile).to_contain_text("The video of porch is frozen")
            keep_screenshots(page, "frozen")
            with urlopen(f"{facewire.url}healthz") as answer:
                health = json.load(answer)
            assert "camera porch is frozen: the same frame for 1 s" in health["problems"]


def test_a_wall_of_many_cameras_has_pages(tmp_path: Path) -> None:
    require_chromium()
    film = still_film(tmp_path / "film.mp4")
    cameras = [f"--camera=c{number:02}={film}" for number in range(18)]
    arguments = (*cameras, f"--gallery={tmp_path / 'people'}")
    with service("wall-pages", tmp_path, *arguments) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}#/wall")
        expect(page.locator("#wall li:visible")).to_have_count(16)
        expect(page.locator("#wall-page")).to_have_text("1 to 16 of 18")
        expect(page.locator('#wall [data-camera="c00"]')).to_have_attribute("data-state", "playing")
        keep_screenshots(page, "wall-pages")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_role("button", name="Next page").click()
        expect(page.locator("#wall li:visible")).to_have_count(2)
        expect(page.locator("#wall-page")).to_have_text("17 to 18 of 18")
        expect(page.locator('#wall [data-camera="c17"]')).to_have_attribute("data-state", "playing")
        _await_viewers(facewire, "c00", 0)  # of another page, it is not sent
        _await_viewers(facewire, "c17", 1)
        page.get_by_role("link", name="c17: live").click()
        expect(page.locator("#camera-name")).to_have_text("c17")
        page.get_by_role("link", name="All cameras").click()
        expect(page.get_by_role("link", name="c17: ")).to_be_focused()
        page.get_by_role("button", name="Next page").click()  # after the last comes the first
        expect(page.locator("#wall-page")).to_have_text("1 to 16 of 18")
        page.get_by_role("button", name="Turn pages").click()
        expect(page.locator("#wall-page")).to_have_text("17 to 18 of 18")
