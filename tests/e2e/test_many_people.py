"""Adding many people on the page by dropping a folder, and putting the gallery in order there."""

import re
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.e2e.harness import (
    OUTPUT,
    chromium,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)
from tests.ports import HeldPort
from tests.shared_data import read_bgr, shared_data

pytestmark = pytest.mark.e2e

BLAIR, POWELL, CHAVEZ, PUTIN = "Tony_Blair", "Colin_Powell", "Hugo_Chavez", "Vladimir_Putin"


def test_a_dropped_folder_becomes_people(tmp_path: Path) -> None:
    require_chromium()
    people = _people(tmp_path / "People")
    with (
        service("many", tmp_path, f"--gallery={tmp_path / 'people'}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people")
        _plan(page, people)
        expect(page.locator(".many-status")).to_have_text("7 of 7: 5 added, 2 not added")
        wall = _upload(page, "wall.png")
        expect(wall).to_have_attribute("data-state", "refused")
        expect(wall).to_contain_text("No face found")
        expect(_upload(page, f"{BLAIR}_0001.jpg")).to_contain_text("Added")
        _see_crops(page, 5)
        _choose_the_face(page)
        keep_screenshots(page, "people-many-added")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_label("Only photos that were not added").check()
        expect(page.locator(".upload")).to_have_count(1)
        page.locator("#many").get_by_role("button", name="Close").click()
        expect(page.locator("#add-many")).to_be_focused()
        for name, n in ((BLAIR, "2 photos"), (POWELL, "3 photos"), ("Hugo Chávez", "1 photo")):
            expect(page.locator(f'.person[data-name="{name}"]')).to_contain_text(n)
        _add_one_by_a_group_photo(page, tmp_path)
        _add_a_zip_file_with_a_list(page, tmp_path)


def _add_one_by_a_group_photo(page: Page, directory: Path) -> None:
    """The dialog for one person asks for the face, too."""
    group = directory / "group.png"
    cv2.imwrite(str(group), np.hstack([read_bgr(_photos_of(name)[1]) for name in (CHAVEZ, PUTIN)]))
    page.click("#add-person")
    page.fill("#person-form-name", "Vladimir Putin")
    page.set_input_files("#person-form-photos", group)
    page.click("#person-save")
    page.locator(".sending").get_by_role("button", name="Choose the face").click()
    page.locator(".pick-crop").last.click()
    expect(page.locator(".sending-outcome")).to_have_text("Face chosen: add it again")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#person-dialog")).to_be_hidden()
    expect(page.locator('.person[data-name="Vladimir Putin"]')).to_contain_text("1 photo")


def test_photos_wait_while_the_service_restarts(tmp_path: Path) -> None:
    require_chromium()
    folder = tmp_path / POWELL
    _copy(POWELL, folder, 3)
    with HeldPort() as held, chromium() as browser:
        with service("many-before", tmp_path, port=held.port) as facewire:
            page = open_page(browser, facewire.url + "#/people")
            page.click("#add-many")
            page.set_input_files("#many-folder", folder)
            start = page.get_by_role("button", name="Add 3 photos of 1 person")
            expect(start).to_be_visible()
        start.click()
        outage = page.locator("#many").get_by_role("alert")
        expect(outage).to_have_text("The service does not answer: going on when it is back")
        page.screenshot(path=OUTPUT / "people-many-outage.png")
        with service("many-after", tmp_path, port=held.port):
            expect(page.locator(".many-status")).to_have_text("3 of 3: 3 added")
            expect(outage).to_be_hidden()


def _people(root: Path) -> Path:
    """Write a folder with two people, a photo of two others, and one of nobody."""
    _copy(BLAIR, root / BLAIR, 2)
    _copy(POWELL, root / POWELL, 3)
    cv2.imwrite(str(root / BLAIR / "wall.png"), np.full((300, 300, 3), 127, np.uint8))
    chavez, putin = (read_bgr(_photos_of(name)[0]) for name in (CHAVEZ, PUTIN))
    (root / "Group").mkdir()
    cv2.imwrite(str(root / "Group/both.png"), np.hstack([chavez, putin]))
    return root


def _add_a_zip_file_with_a_list(page: Page, directory: Path) -> None:
    one, two = _photos_of(POWELL)[5:7]
    with zipfile.ZipFile(directory / "staff.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("list.csv", "name,file\nDoe; Joe,scans/1.jpg\nDoe; Joe,scans/3.jpg\n")
        packed.write(one, "scans/1.jpg")
        packed.write(two, "scans/2.jpg")
    _drop(page, directory / "staff.zip", page.locator("#people-list"))
    names = page.locator(".plan-name")
    expect(names).to_have_count(1)
    expect(names).to_have_value("Doe; Joe")
    expect(page.locator("#many").get_by_role("alert").first).to_have_text(
        "staff/list.csv, line 3: scans/3.jpg is not among the files. "
        "staff/scans/2.jpg is not in staff/list.csv, and left out."
    )
    page.screenshot(path=OUTPUT / "people-many-zip.png")
    page.get_by_role("button", name="Add 1 photo of 1 person").click()
    expect(page.locator(".many-status")).to_contain_text("1 of 1")


def _photos_of(name: str) -> list[Path]:
    return sorted((shared_data("lfw10_original") / name).iterdir())


def _copy(name: str, to: Path, n: int) -> None:
    to.mkdir(parents=True)
    for path in _photos_of(name)[:n]:
        shutil.copy(path, to)


def _plan(page: Page, people: Path) -> None:
    """Drop the folder as a file manager does, and correct a name."""
    expect(page.locator("#people-empty")).to_be_visible()
    _drop(page, people, page.locator("#people-empty"))
    names = page.locator(".plan-name")
    expect(names).to_have_count(3)
    assert [names.nth(i).input_value() for i in range(3)] == [POWELL, "Group", BLAIR]
    names.nth(1).fill("")
    expect(page.get_by_role("button", name="Add 6 photos of 2 people")).to_be_visible()
    names.nth(1).fill("Hugo Chávez")
    page.get_by_role("button", name="Add 7 photos of 3 people").click()


def _drop(page: Page, path: Path, onto: Locator) -> None:
    """Drag a folder into the window; a script cannot make one."""
    box = onto.bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    event = {
        "x": box["x"] + box["width"] / 2,
        "y": box["y"] + box["height"] / 2,
        "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1},
    }
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **event})


def _middle(element: Locator) -> float:
    box = element.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2


def _upload(page: Page, file: str) -> Locator:
    return page.locator(f'.upload[data-path$="/{file}"]')


def _see_crops(page: Page, n: int) -> None:
    page.wait_for_function(
        """n => [...document.querySelectorAll('.upload[data-state="added"] img')]
            .filter(image => image.naturalWidth === 112).length === n""",
        arg=n,
    )


def _choose_the_face(page: Page) -> None:
    """By the keyboard, in the photo: the boxes are where the faces are."""
    both = _upload(page, "both.png")
    expect(both).to_contain_text("2 faces in the photo: choose the one who is meant")
    both.get_by_role("button", name="Choose the face").click()
    dialog = page.get_by_role("dialog", name="Which face is Hugo Chávez?")
    expect(dialog.get_by_alt_text("Photo both.png")).to_be_visible()
    boxes = dialog.locator(".pick-box")
    expect(boxes).to_have_count(2)
    photo, left, right = (
        _middle(each) for each in (dialog.locator(".pick-photo"), boxes.first, boxes.last)
    )
    assert left < photo < right
    keep_screenshots(page, "people-many-face")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(both).to_have_attribute("data-state", "refused")
    both.get_by_role("button", name="Choose the face").click()
    boxes.first.focus()
    page.keyboard.press("Enter")
    expect(both).to_have_attribute("data-state", "added")
    _see_crops(page, 6)


def test_the_gallery_is_put_in_order(tmp_path: Path) -> None:
    require_chromium()
    with (
        service("hygiene", tmp_path, f"--gallery={tmp_path / 'people'}") as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people")
        page.click('.tabs [href="#/people/look"]')
        hygiene = page.locator("#hygiene")
        expect(hygiene.get_by_role("status")).to_contain_text("Nothing needs a look")
        _see_too_few_people(page)
        _enroll_with_faults(page, facewire.url)
        page.click('.tabs [href="#/people"]')
        tab = page.locator('.tabs [href="#/people/look"]')
        expect(tab.locator(".count")).to_have_text(re.compile("^[1-9]"))
        tab.click()
        _move_a_photo(page)
        _merge_the_same_person(page)
        _see_the_threshold(page)


def _enroll_with_faults(page: Page, url: str) -> None:
    """Ten people; a photo of Powell among Blair's, and Blair once more under another name."""

    def enroll(name: str, photo: Path) -> None:
        file = FilePayload(name=photo.name, mimeType="image/jpeg", buffer=photo.read_bytes())
        answer = page.request.post(
            f"{url}api/identities", multipart={"name": name, "force": "true", "photos": file}
        )
        assert answer.ok, answer.text()

    for person in sorted(shared_data("lfw10_original").iterdir()):
        for photo in _photos_of(person.name)[:3]:
            enroll(person.name, photo)
    enroll(BLAIR, _photos_of(POWELL)[3])
    for photo in _photos_of(BLAIR)[3:5]:
        enroll("Prime Minister", photo)


def _finding(page: Page, kind: str, text: str) -> Locator:
    return page.locator(f'.finding[data-kind="{kind}"]', has_text=text)


def _move_a_photo(page: Page) -> None:
    """The wrong photo is moved at once, back, and again."""
    unlike = _finding(page, "unlike", f"This photo of {BLAIR}")
    expect(unlike).to_contain_text(f"it may be {POWELL}")
    # A merge because of that photo would be a mistake: the photo comes first.
    expect(_finding(page, "alike", POWELL)).to_have_count(0)
    keep_screenshots(page, "people-look")
    page.set_viewport_size({"width": 1280, "height": 800})
    for is_last in (False, True):
        unlike.get_by_role("button", name=f"Move to {POWELL}").click()
        done = page.locator(".finding-done")
        expect(done).to_have_text(f"The photo was moved to {POWELL}.Undo")
        if not is_last:
            done.get_by_role("button", name="Undo").click()
            expect(done).to_have_count(0)
            expect(unlike).to_be_visible()


def _merge_the_same_person(page: Page) -> None:
    """It is asked about first; what is kept as it is can be shown again."""
    alike = _finding(page, "alike", "Prime Minister")
    alike.get_by_role("button", name="They are different").click()
    expect(alike).to_have_count(0)
    page.get_by_role("button", name="Show 1 kept").click()
    alike.get_by_role("button", name=f"Merge into {BLAIR}").click()
    expect(page.locator("#confirm-text")).to_contain_text("cannot be undone")
    page.keyboard.press("Escape")
    expect(alike).to_be_visible()
    alike.get_by_role("button", name=f"Merge into {BLAIR}").click()
    page.click("#confirm-yes")
    expect(alike).to_have_count(0)
    page.click('.tabs [href="#/people"]')
    expect(page.locator(".person")).to_have_count(10)
    expect(page.locator(f'.person[data-name="{BLAIR}"]')).to_contain_text("5 photos")
    expect(page.locator(f'.person[data-name="{POWELL}"]')).to_contain_text("4 photos")


def _see_too_few_people(page: Page) -> None:
    page.click('.tabs [href="#/people/threshold"]')
    status = page.locator(".calibration-status")
    expect(status).to_contain_text("Too few people to measure this.")
    expect(page.locator("#calibration")).to_contain_text("Enroll more people")


def _see_the_threshold(page: Page) -> None:
    page.click('.tabs [href="#/people/threshold"]')
    page.select_option("#calibration-far", "0.05")
    expect(page.locator(".calibration-status")).to_contain_text("1 in 20 pairs of different people")
    plot = page.get_by_role("img", name="Similarities of photos")
    expect(plot).to_be_visible()
    strangers, same, threshold = (
        _middle(plot.locator(each).last)
        for each in (".bar.impostor", ".bar.genuine", ".threshold.measured")
    )
    first = _middle(plot.locator(".bar.impostor").first)
    assert first < threshold < same
    assert strangers < same
    expect(page.locator("#calibration dl")).to_contain_text("from 33 photos of 10 people")
    keep_screenshots(page, "people-threshold")
