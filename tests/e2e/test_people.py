"""Managing people on the page: photos, corrections, merging, erasing."""

import re
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect

from gallery import Gallery
from recognizer import open_recognizer
from tests.e2e.films import still_film
from tests.e2e.harness import (
    OUTPUT,
    await_picture,
    chromium,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)
from tests.heic import heic
from tests.shared_data import photos, read_bgr

pytestmark = pytest.mark.e2e


def test_people_are_put_right(tmp_path: Path) -> None:
    require_chromium()
    with (
        service("people", tmp_path, f"--gallery={tmp_path / 'people'}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people")
        _show_people(page)
        _add(page, "Barack Obama", "obama.jpg", "obama2.jpg")
        _add(page, "Joe Biden", "biden.jpg")
        _search(page)
        _look_at_photos(page)
        _split_by_keyboard(page)
        _merge(page)
        _remove_a_photo(page)
        _erase(page)


def test_who_is_in_view_of_a_camera_is_added(tmp_path: Path) -> None:
    require_chromium()
    film = still_film(tmp_path / "alone.mp4", "grace_hopper.jpg")
    with (
        service("people-camera", tmp_path, f"--camera=desk={film}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/live/desk")
        await_picture(page)
        page.goto(facewire.url + "#/people")
        _show_people(page)
        page.click("#add-person")
        page.get_by_text("From a camera").click()
        expect(page.locator("#person-form-camera")).to_have_value("desk")
        expect(page.get_by_alt_text("Current view of the camera")).to_be_visible()
        page.screenshot(path=OUTPUT / "people-from-camera.png")
        page.fill("#person-form-name", "Grace Hopper")
        _try_until_seen(page)
        expect(_person(page, "Grace Hopper")).to_be_visible()


def test_photos_are_sent_one_by_one_and_can_be_stopped(tmp_path: Path) -> None:
    require_chromium()
    large = _phone_photos(tmp_path, 8)
    with (
        service("people-photos", tmp_path, f"--gallery={tmp_path / 'people'}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people")
        _show_people(page)
        _stop_midway(page, large)
        _send_all(page, large)
        page.evaluate("window.row = document.querySelector('.person[data-name=\"Barack Obama\"]')")
        _see_each_reason(page, tmp_path)
        assert page.evaluate("window.row.isConnected"), "a click on it would be lost"
        _drop(page)
        _add_a_twin(page, tmp_path)


def _add_a_twin(page: Page, directory: Path) -> None:
    """A photo that matches another person is added if the user confirms it."""
    twin = directory / "twin.png"
    image = read_bgr(photos() / "biden.jpg")
    cv2.imwrite(str(twin), image[:, ::-1])
    page.click("#add-person")
    page.fill("#person-form-name", "Joe's Twin")
    page.set_input_files("#person-form-photos", twin)
    page.click("#person-save")
    expect(page.locator(".sending-outcome")).to_contain_text("Looks like Joe Biden")
    page.locator("#person-form-force").check()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#person-dialog")).to_be_hidden()
    expect(_person(page, "Joe's Twin")).to_contain_text("1 photo")


def _stop_midway(page: Page, large: list[Path]) -> None:
    """Escape stops the sending, and the next dialog is its own."""
    page.click("#add-person")
    page.fill("#person-form-name", "Barack Obama")
    page.set_input_files("#person-form-photos", large)
    page.click("#person-save")
    outcomes = page.locator(".sending-outcome")
    expect(outcomes.first).to_have_text("Added")
    page.screenshot(path=OUTPUT / "people-sending.png")
    page.keyboard.press("Escape")
    expect(page.locator("#person-dialog")).to_be_hidden()
    expect(page.get_by_text(re.compile(r"^\d photos? (was|were) added\."))).to_be_visible()
    expect(_person(page, "Barack Obama")).to_be_visible()
    page.click("#add-person")
    expect(page.locator("#person-save")).to_be_enabled()
    expect(page.locator(".sending li")).to_have_count(0)
    page.fill("#person-form-name", "Joe Biden")
    page.set_input_files("#person-form-photos", photos() / "biden.jpg")
    page.click("#person-save")
    expect(page.locator("#person-dialog")).to_be_hidden()
    expect(_person(page, "Joe Biden")).to_contain_text("1 photo")
    expect(_person(page, "Barack Obama")).not_to_contain_text("8 photos")


def _send_all(page: Page, large: list[Path]) -> None:
    """Forty megabytes are sent, photo by photo; photos already enrolled are reported and kept."""
    assert sum(path.stat().st_size for path in large) > 33 * 1024 * 1024
    page.get_by_role("button", name="Add photos of Barack Obama").click()
    page.set_input_files("#person-form-photos", large)
    page.click("#person-save")
    expect(page.locator(".sending-outcome").last).to_have_text("Added")
    expect(page.get_by_text(re.compile(r"\d photos? added, \d refused\."))).to_be_visible()
    expect(_person(page, "Barack Obama")).to_contain_text("8 photos")
    expect(page.locator('.sending [data-state="bad"]').first).to_contain_text("Enrolled already")
    page.click("#person-dialog [data-cancel]")


def _see_each_reason(page: Page, directory: Path) -> None:
    heic_photo, wall, text = directory / "hopper.heic", directory / "wall.png", directory / "a.jpg"
    image = read_bgr(photos() / "grace_hopper.jpg")[..., ::-1]
    heic_photo.write_bytes(heic(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]))
    cv2.imwrite(str(wall), np.full((300, 300, 3), 127, np.uint8))
    text.write_text("no photo")
    page.click("#add-person")
    page.fill("#person-form-name", "Grace Hopper")
    page.set_input_files("#person-form-photos", [wall, heic_photo, text])
    page.click("#person-save")
    rows = page.locator(".sending li")
    expect(rows.nth(0)).to_contain_text("No face found")
    expect(rows.nth(1)).to_contain_text("Added")
    expect(rows.nth(2)).to_contain_text("not a JPEG, PNG, WebP, HEIC")
    expect(page.get_by_text("1 photo added, 2 refused.")).to_be_visible()
    expect(_person(page, "Grace Hopper")).to_contain_text("1 photo")  # behind the open dialog
    keep_screenshots(page, "people-outcomes")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.click("#person-dialog [data-cancel]")
    expect(page.get_by_text("1 photo was added.").first).to_be_visible()


def _drop(page: Page) -> None:
    """A file that is dropped on the list opens the dialog; another is added to it."""
    files = """names => {
        const dropped = new DataTransfer();
        names.forEach(name => dropped.items.add(new File(["x"], name, { type: "image/jpeg" })));
        return dropped;
    }"""
    for selector, names in (("#people-list", ["a.jpg"]), ("#person-form", ["b.jpg", "c.jpg"])):
        dropped = page.evaluate_handle(files, names)
        page.dispatch_event(selector, "dragover", {"dataTransfer": dropped})
        page.dispatch_event(selector, "drop", {"dataTransfer": dropped})
        expect(page.locator("#person-dialog")).to_be_visible()
        expect(page.locator(".sending-name").last).to_have_text(names[-1])
    expect(page.locator(".sending-name")).to_have_text(["a.jpg", "b.jpg", "c.jpg"])
    expect(page.locator("#person-form-name")).to_have_value("")
    page.keyboard.press("Escape")
    expect(page.locator("#person-dialog")).to_be_hidden()


def _phone_photos(directory: Path, count: int) -> list[Path]:
    """Write photos of 12 megapixels and about 5 MiB, each another in its bytes."""
    face = read_bgr(photos() / "obama.jpg")
    face = cv2.resize(face, (3000, 3000), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).integers(-16, 17, (3000, 4000, 3), np.int16)
    paths = []
    for number in range(count):
        canvas = np.full((3000, 4000, 3), 100 + number, np.int16)
        canvas[:, 500:3500] = face
        path = directory / f"IMG_{number:04}.jpg"
        image = (canvas + noise).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        paths.append(path)
    return paths


def test_many_people_are_listed_page_by_page_and_found_by_search(tmp_path: Path) -> None:
    require_chromium()
    directory = tmp_path / "many"
    recognizer = open_recognizer()
    with Gallery.open(
        directory, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        for number in range(250):
            gallery.photos.add(f"Person {number:03}", [])
        gallery.photos.add("Zoë", [])
    with (
        service("people-many", tmp_path, f"--gallery={directory}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people")
        _show_people(page)
        expect(page.locator("#people-count")).to_have_text("251")
        expect(page.locator(".person")).to_have_count(100)
        expect(page.locator(".people-count")).to_have_text("100 of 251")
        for shown in (200, 251):
            page.get_by_role("button", name="Show more").click()
            expect(page.locator(".person")).to_have_count(shown)
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
        keep_screenshots(page, "people-many")
        page.fill("#people-search", "zoe")
        expect(page.locator(".person")).to_have_count(1)
        expect(_person(page, "Zoë")).to_be_visible()
        expect(page.locator(".people-count")).to_have_text("1 of 251")
        _person(page, "Zoë").get_by_role("button", name="Zoë, 0 photos").click()
        _sheet(page).get_by_role("button", name="Merge").click()
        page.locator("#who-input").press_sequentially("249")
        expect(page.locator("#known-names option")).to_have_count(1)


def _show_people(page: Page) -> None:
    page.click("#nav-people")
    expect(page.locator("#add-person")).to_be_visible()


def _person(page: Page, name: str) -> Locator:
    return page.locator(f'.person[data-name="{name}"]')


def _sheet(page: Page) -> Locator:
    return page.get_by_role("dialog").filter(has=page.locator("#sheet-title"))


def _add(page: Page, name: str, *files: str) -> None:
    page.click("#add-person")
    page.fill("#person-form-name", name)
    page.set_input_files("#person-form-photos", [photos() / file for file in files])
    page.click("#person-save")
    n = "1 photo" if len(files) == 1 else f"{len(files)} photos"
    expect(_person(page, name)).to_contain_text(n)


def _search(page: Page) -> None:
    page.fill("#people-search", "BIDEN")
    expect(page.locator(".person")).to_have_count(1)
    expect(page.get_by_text("1 of 2")).to_be_visible()
    page.fill("#people-search", "nobody")
    expect(page.locator("#people-empty")).to_contain_text("No person matches")
    page.fill("#people-search", "")
    expect(page.locator(".person")).to_have_count(2)


def _look_at_photos(page: Page) -> None:
    page.get_by_role("button", name="Barack Obama, 2 photos").click()
    sheet = _sheet(page)
    expect(sheet.get_by_role("heading", name="Barack Obama")).to_be_focused()
    expect(sheet.locator("#sheet-figures")).to_have_text(re.compile(r"2 photos · \d+ events?"))
    expect(sheet.get_by_text("Quality")).to_have_count(2)
    shown = "images => images.length === 2 && images.every(i => i.naturalWidth === 112)"
    page.wait_for_function(f"() => ({shown})([...document.querySelectorAll('.photo img')])")
    keep_screenshots(page, "people-sheet")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 800})


def _split_by_keyboard(page: Page) -> None:
    sheet = _sheet(page)
    sheet.get_by_role("checkbox").last.focus()
    page.keyboard.press("Space")
    expect(sheet.get_by_text("1 photo selected")).to_be_visible()
    sheet.get_by_role("button", name="Move to another person").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#who-title")).to_have_text("Who is on this photo?")
    page.keyboard.type("Somebody Else")
    page.screenshot(path=OUTPUT / "people-move.png")
    page.keyboard.press("Enter")
    expect(sheet.locator("#sheet-figures")).to_contain_text("1 photo ·")
    expect(page.get_by_text("1 photo moved to Somebody Else.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(_person(page, "Somebody Else")).to_contain_text("1 photo")


def _merge(page: Page) -> None:
    page.get_by_role("button", name="Somebody Else, 1 photo").click()
    sheet = _sheet(page)
    sheet.get_by_role("button", name="Merge").click()
    page.fill("#who-input", "Nobody At All")
    page.click("#who-yes")
    expect(page.locator("#who-problem")).to_contain_text("No person is called Nobody At All")
    page.fill("#who-input", "Barack Obama")
    page.click("#who-yes")
    expect(sheet.get_by_role("heading", name="Barack Obama")).to_be_visible()
    expect(sheet.locator("#sheet-figures")).to_contain_text("2 photos")


def _remove_a_photo(page: Page) -> None:
    sheet = _sheet(page)
    sheet.get_by_role("button", name="Remove photo").first.click()
    expect(page.locator("#confirm-text")).to_contain_text("keeps 1 photo")
    page.click("#confirm-yes")
    expect(sheet.locator(".photo")).to_have_count(1)


def _erase(page: Page) -> None:
    _sheet(page).get_by_role("button", name="Erase").click()
    expect(page.locator("#confirm-text")).to_contain_text("erases the name, 1 photo and")
    page.screenshot(path=OUTPUT / "people-erase.png")
    page.click("#confirm-yes")
    expect(_sheet(page)).to_be_hidden()
    expect(page.locator(".person")).to_have_count(1)


def _try_until_seen(page: Page) -> None:
    """Press the button until the face has been embedded: a user waits a second, too."""
    dialog = page.locator("#person-dialog")
    while dialog.is_visible():
        with suppress(TimeoutError):  # it may close before the click
            page.click("#person-save", timeout=5000)
        page.wait_for_timeout(500)
