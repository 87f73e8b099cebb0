"""Visitors on the page: unknown people who came again are named, ignored, merged and erased."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.films import film_of
from tests.e2e.harness import (
    OUTPUT,
    PATIENCE_S,
    chromium,
    go,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e

FACES = ("grace_hopper.jpg", "obama.jpg", "biden.jpg")


def test_visitors_are_kept_named_ignored_merged_and_erased(tmp_path: Path) -> None:
    require_chromium()
    film = film_of(tmp_path / "door.avi", FACES)
    config = tmp_path / "facewire.toml"
    config.write_text(
        f'[[cameras]]\nname = "door"\nurl = "{film}"\nloop = true\n'
        "[events]\nabsence_s = 1.0\ncooldown_s = 1.0\n"
    )
    with (
        service(
            "visitors", tmp_path, f"--config={config}", f"--gallery={tmp_path / 'people'}"
        ) as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/people/visitors")
        _switch_on(page)
        _wait_for_three(page)
        _see_who_left(page)
        _name(page)
        _ignore(page, facewire.url)
        _merge_and_undo(page)
        _erase_all(page)


def _switch_on(page: Page) -> None:
    expect(page.get_by_text("Visitors are not kept. Switch it on")).to_be_visible()
    page.click("#visitors-switch")
    expect(page.locator("#visitors-switch")).to_have_attribute("aria-checked", "true")
    # On a busy machine the first visitor may come before the empty list was shown.
    expect(page.get_by_text("No visitors yet.").or_(page.locator(".visitor").first)).to_be_visible()


def _wait_for_three(page: Page) -> None:
    expect(page.locator(".visitor")).to_have_count(3)
    expect(
        page.locator(".visitor", has_text=re.compile(r"Seen ([2-9]|\d\d+) times"))
    ).to_have_count(3)
    keep_screenshots(page, "visitors")


def _see_who_left(page: Page) -> None:
    go(page, "#/events")
    left = page.locator('.event[data-kind="exit"]')
    expect(left.filter(has_text=re.compile(r"Visitor [123]")).first).to_be_visible()
    keep_screenshots(page, "visitors-left")
    go(page, "#/people/visitors")


def _name(page: Page) -> None:
    who = _visitor(page).get_attribute("data-name")
    _visitor(page).get_by_text("Name", exact=True).click()
    page.fill("#who-input", "Ada")
    page.click("#who-yes")
    expect(page.get_by_text(f"{who} is Ada from now on.")).to_be_visible()
    expect(page.locator(".visitor")).to_have_count(2)
    go(page, "#/events?name=Ada")
    expect(page.locator(".event", has_text="Ada").first).to_be_visible()
    go(page, "#/live/door")
    expect(page.locator('.face[data-name="Ada"][data-state="known"]')).to_be_visible()
    go(page, "#/people")
    expect(page.locator('.person[data-name="Ada"]')).to_be_visible()
    go(page, "#/people/visitors")


def _ignore(page: Page, url: str) -> None:
    name = _visitor(page).get_attribute("data-name") or ""
    page.get_by_label(f"Ignore {name}", exact=True).click()
    expect(page.locator(".visitor")).to_have_count(1)
    other = _visitor(page).get_attribute("data-name") or ""
    ignored, told = _times_told(page, url, name), _times_told(page, url, other)
    assert ignored > 0
    deadline = time.monotonic() + PATIENCE_S
    while _times_told(page, url, other) < told + 2:  # the film goes round, so both were in view
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    assert _times_told(page, url, name) == ignored
    page.click("#visitors-ignored")
    expect(page.locator(f'.visitor[data-name="{name}"]')).to_be_visible()
    page.get_by_label(f"Announce {name}", exact=True).click()
    expect(page.get_by_text("No visitor is ignored.")).to_be_visible()
    page.click("#visitors-ignored")
    expect(page.locator(".visitor")).to_have_count(2)


def _times_told(page: Page, url: str, visitor: str) -> int:
    answer = page.request.get(f"{url}api/events", params={"kind": "unknown", "name": visitor})
    return len(answer.json()["events"])


def _merge_and_undo(page: Page) -> None:
    names = [
        str(page.locator(".visitor").nth(number).get_attribute("data-name")) for number in (0, 1)
    ]
    page.locator(f'.visitor[data-name="{names[0]}"] .person-open').click()
    sheet = page.locator("#visitor-sheet")
    expect(sheet.locator(".photo").first).to_be_visible()
    page.screenshot(path=OUTPUT / "visitor-sheet.png")
    sheet.get_by_text("Merge", exact=True).click()
    page.fill("#who-input", "nobody")
    page.click("#who-yes")
    expect(page.get_by_text("No other visitor is called nobody")).to_be_visible()
    page.fill("#who-input", names[1])
    page.click("#who-yes")
    expect(page.locator("#visitor-sheet-title")).to_have_text(names[1])
    expect(page.locator(".visitor")).to_have_count(1)
    sheet.get_by_label(f"Undo the merge of {names[0]}", exact=True).click()
    expect(page.locator(".visitor")).to_have_count(2)
    # Told apart by that, and one again where a person says so.
    sheet.get_by_text("Merge", exact=True).click()
    page.fill("#who-input", names[0])
    expect(page.get_by_label("They are the same person")).to_be_hidden()
    page.click("#who-yes")
    expect(page.get_by_text("were told apart")).to_be_visible()
    page.get_by_label("They are the same person").check()
    page.click("#who-yes")
    expect(page.locator("#visitor-sheet-title")).to_have_text(names[0])
    expect(page.locator(".visitor")).to_have_count(1)
    sheet.get_by_label("Close").click()


def _erase_all(page: Page) -> None:
    page.click("#visitors-switch")
    expect(page.locator("#visitors-switch")).to_have_attribute("aria-checked", "false")
    page.click("#visitors-erase")
    page.click("#confirm-yes")
    expect(page.locator(".visitor")).to_have_count(0)
    expect(page.get_by_text("Visitors are not kept.")).to_be_visible()


def _visitor(page: Page) -> Locator:
    return page.locator(".visitor").first
