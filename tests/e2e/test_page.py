"""What people do on the page besides watching: people, cameras, signing in, and outages."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.harness import (
    OUTPUT,
    await_picture,
    chromium,
    go,
    now_ms,
    open_page,
    require_chromium,
    service,
)
from tests.ports import HeldPort
from tests.shared_data import photos

pytestmark = pytest.mark.e2e

NAME = "Grace Hopper"
SECRET = "s3cret-of-the-yard"
TOKEN = "correct horse battery staple"

# an answer to an earlier request arrives just when the dialog closes
REFUSED_LATE = """() => {
    const dialog = document.getElementById("token-dialog");
    const close = dialog.close.bind(dialog);
    dialog.close = () => {
        close();
        window.dispatchEvent(new CustomEvent("facewire:signed-out"));
    };
}"""


def test_people_and_cameras_are_looked_after(tmp_path: Path) -> None:
    require_chromium()
    gallery = f"--gallery={tmp_path / 'people'}"
    with (
        HeldPort() as nobody,
        service("page", tmp_path, gallery) as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url)
        await_picture(page)
        expect(page.locator("#demo")).to_be_hidden()
        _add_and_erase_a_person(page, facewire.log)
        _add_and_remove_a_camera(page, f"rtsp://admin:{SECRET}@127.0.0.1:{nobody.port}/live")
        assert SECRET not in page.content()
        assert SECRET not in facewire.log.read_text()


def _add_and_erase_a_person(page: Page, no_photo: Path) -> None:
    page.click("#nav-people")
    expect(page.locator("#people-empty")).to_contain_text("Nobody is enrolled")
    page.click("#add-person")
    page.fill("#person-form-name", NAME)
    page.set_input_files("#person-form-photos", no_photo)
    page.click("#person-save")
    refused = page.locator(".sending li", has_text=no_photo.name)
    expect(refused).to_have_attribute("data-state", "bad")
    expect(refused).to_contain_text("not a JPEG")
    page.set_input_files("#person-form-photos", photos() / "grace_hopper.jpg")
    page.click("#person-save")
    person = page.locator(f'.person[data-name="{NAME}"]')
    expect(person).to_contain_text("1 photo")
    go(page, "#/live/demo")
    expect(page.locator(f'.face[data-name="{NAME}"]')).to_be_visible()
    page.click("#nav-people")

    person.get_by_role("button", name="Rename").click()
    page.fill("#rename-input", "Admiral Hopper")
    page.keyboard.press("Enter")
    renamed = page.locator('.person[data-name="Admiral Hopper"]')
    renamed.get_by_role("button", name="Remove").click()
    expect(page.locator("#confirm-text")).to_contain_text("erases")
    page.screenshot(path=OUTPUT / "page-erase.png")
    page.keyboard.press("Escape")
    expect(renamed).to_be_visible()
    renamed.get_by_role("button", name="Remove").click()
    page.click("#confirm-yes")
    expect(page.locator(".person")).to_have_count(0)


def _add_and_remove_a_camera(page: Page, url: str) -> None:
    page.click('.nav [data-view="settings"]')
    page.click("#add-camera")
    page.fill("#camera-form-name", "yard")
    page.fill("#camera-form-url", "ftp://nowhere")
    page.click("#camera-form [type=submit]")
    expect(page.locator("#camera-problem")).to_contain_text("no known kind")
    card = page.locator('.camera-item[data-camera="yard"]')
    page.fill("#camera-form-url", url)
    page.click("#camera-form [type=submit]")
    expect(page.locator("#veil-title")).to_have_text("No video from yard")
    page.screenshot(path=OUTPUT / "page-failing.png")

    go(page, "#/live/demo")
    await_picture(page, after=now_ms(page))
    page.click('.nav [data-view="settings"]')
    expect(card).to_have_attribute("data-state", "failing")
    expect(card).to_contain_text("***")
    card.get_by_role("button", name="Change").click()
    page.fill("#camera-form-name", "demo")
    page.click("#camera-form [type=submit]")
    expect(page.locator("#camera-problem")).to_contain_text("demo")
    page.fill("#camera-form-name", "back-yard")
    page.click("#camera-form [type=submit]")
    expect(card).to_have_count(0)
    renamed = page.locator('.camera-item[data-camera="back-yard"]')
    expect(renamed).to_contain_text("***")
    renamed.get_by_role("button", name="Remove").click()
    page.click("#confirm-yes")
    expect(renamed).to_have_count(0)


def test_page_comes_back_with_the_service(tmp_path: Path) -> None:
    require_chromium()
    with HeldPort() as held, chromium() as browser:
        with service("outage-before", tmp_path, port=held.port) as facewire:
            page = open_page(browser, facewire.url)
            await_picture(page)
        expect(page.locator("#link")).to_have_attribute("data-state", "lost")
        expect(page.locator("#veil-title")).to_have_text("Connecting to facewire")
        with service("outage-after", tmp_path, port=held.port):
            await_picture(page, after=now_ms(page))
            expect(page.locator("#link")).to_have_attribute("data-state", "open")


def test_token_is_asked_for_once(tmp_path: Path) -> None:
    require_chromium()
    with (
        service("token", tmp_path, "--host=0.0.0.0", token=TOKEN) as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url)
        expect(page.locator("#token-dialog")).to_be_visible()
        page.fill("#token-input", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).to_be_visible()
        page.screenshot(path=OUTPUT / "page-token.png")
        page.evaluate(REFUSED_LATE)
        page.fill("#token-input", TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#token-dialog")).to_be_hidden()
        page.wait_for_function("() => window.shown.length > 5")
        page.reload()
        await_picture(page)
        assert TOKEN not in facewire.log.read_text()
