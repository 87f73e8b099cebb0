"""Searching past sightings on the page, and giving somebody's past their name."""

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.films import film_of
from tests.e2e.harness import (
    OUTPUT,
    chromium,
    go,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)
from tests.shared_data import photos

pytestmark = pytest.mark.e2e

PASTE = """([base64, id]) => {
    const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
    document.getElementById(id).dispatchEvent(
        new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


def test_a_pasted_photo_finds_its_past_and_the_past_gets_a_name(tmp_path: Path) -> None:
    require_chromium()
    film = film_of(tmp_path / "door.avi", ("obama.jpg", "grace_hopper.jpg"))
    config = tmp_path / "facewire.toml"
    config.write_text(
        f'[[cameras]]\nname = "door"\nurl = "{film}"\nloop = true\n'
        "[events]\nabsence_s = 1.0\ncooldown_s = 1.0\n"
    )
    with (
        service(
            "search", tmp_path, f"--config={config}", f"--gallery={tmp_path / 'people'}"
        ) as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/events")
        expect(page.locator('.event[data-kind="unknown"]').nth(3)).to_be_visible()
        _paste(page)
        _search_by_event(page)
        _name_the_past(page)
        _name_an_event_and_its_past(page)


def _paste(page: Page) -> None:
    page.get_by_text("Search by photo").click()
    expect(page.get_by_text("Choose whose past you look for")).to_be_visible()
    photo = (photos() / "obama2.jpg").read_bytes()
    page.evaluate(PASTE, [base64.b64encode(photo).decode(), "search-zone"])
    expect(page.locator(".search-match").nth(1)).to_be_visible()
    expect(page.locator("#search-photo")).to_be_visible()
    keep_screenshots(page, "search")
    page.select_option("#search-camera", "door")
    expect(page.locator(".search-match").nth(1)).to_be_visible()
    page.fill("#search-least", "0.99")
    page.locator("#search-least").blur()
    expect(page.get_by_text("Not seen in this time, or not similar enough.")).to_be_visible()
    assert "least=0.99" in page.url


def _search_by_event(page: Page) -> None:
    go(page, "#/events?kind=unknown")
    page.get_by_label("Search past sightings of Unknown face").first.click()
    expect(page.locator(".search-match").first).to_be_visible()
    assert "#/search?event=" in page.url
    expect(page.locator("#search-photo")).to_have_attribute("src", re.compile(r"crop\.jpg$"))
    page.reload()  # the address can be shared
    expect(page.locator(".search-match").first).to_be_visible()


def _name_the_past(page: Page) -> None:
    page.goto(page.url.split("#")[0] + "#/people")
    page.click("#add-person")
    page.fill("#person-form-name", "Barack Obama")
    page.set_input_files("#person-form-photos", photos() / "obama2.jpg")
    page.click("#person-save")
    page.locator('.person[data-name="Barack Obama"] .person-open').click()
    expect(page.get_by_text("as an unknown face")).to_be_visible()
    page.screenshot(path=OUTPUT / "search-past.png")
    page.get_by_text("Give them the name").click()
    expect(page.get_by_text("got the name Barack Obama")).to_be_visible()
    page.locator("#person-sheet").get_by_label("Close").click()
    go(page, "#/events?name=Barack%20Obama")
    expect(page.locator('.event[data-kind="unknown"]').first).to_be_visible()


def _name_an_event_and_its_past(page: Page) -> None:
    """Name one event of a stranger: the page offers the name for the others at once."""
    go(page, "#/events?kind=unknown")
    event_id = _event_of_a_stranger(page)
    page.locator(f'.event[data-id="{event_id}"]').get_by_role("button", name="Name").click()
    page.fill("#name-input", "Grace Hopper")
    page.click("#name-save")
    expect(page.locator("#name-dialog")).to_be_hidden()
    offer = page.locator("#toasts .toast", has_text="as an unknown face")
    expect(offer).to_be_visible()
    page.screenshot(path=OUTPUT / "search-offer.png", animations="disabled")
    offer.get_by_text("Give them the name").click()
    expect(page.get_by_text("got the name Grace Hopper")).to_be_visible()
    expect(offer).to_have_count(0)
    go(page, "#/events?name=Grace%20Hopper")
    expect(page.locator('.event[data-kind="unknown"]').nth(1)).to_be_visible()


def _event_of_a_stranger(page: Page) -> int:
    """Return an event without a name whose face was seen in other events that have none either."""
    api = page.url.split("#")[0] + "api/"
    found: dict[int, list[str | None]] = {}
    for event in page.request.get(f"{api}events?kind=unknown&limit=20").json()["events"]:
        matches = page.request.post(f"{api}search", data={"event_id": event["id"]}).json()[
            "matches"
        ]
        found[event["id"]] = [match["event"]["name"] for match in matches]
    strangers = {each: len(names) for each, names in found.items() if not any(names)}
    if max(strangers.values(), default=0) < 2:
        pytest.fail(f"nobody without a name was seen twice: {found}")
    return max(strangers, key=lambda each: strangers[each])
