"""Past events on the page: named after a restart, and without gaps after an outage."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect

from stream.events.log import EventLog
from stream.frames import Event, EventKind
from tests.e2e.films import still_film
from tests.e2e.harness import (
    OUTPUT,
    PATIENCE_S,
    chromium,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)
from tests.ports import HeldPort

pytestmark = pytest.mark.e2e

IDS = (
    "() => [...document.querySelectorAll('#event-list .event')].map(row => Number(row.dataset.id))"
)


def test_a_stranger_is_named_after_a_restart_whoever_is_in_view_now(tmp_path: Path) -> None:
    require_chromium()
    gallery = f"--gallery={tmp_path / 'people'}"
    before = still_film(tmp_path / "before.mp4", "grace_hopper.jpg")
    after = still_film(tmp_path / "after.mp4", "obama.jpg")
    with service("past-before", tmp_path, gallery, f"--camera=desk={before}") as facewire:
        _await(lambda: _strangers(facewire.url))
    with (
        service("past-after", tmp_path, gallery, f"--camera=desk={after}") as facewire,
        chromium() as browser,
    ):
        _await(lambda: len(_strangers(facewire.url)) == 2)
        newer, older = _strangers(facewire.url)
        # The numbers are the same: 1. Once they were the keys.
        assert older["track_id"] != newer["track_id"]
        page = open_page(browser, facewire.url + "#/events")
        _name(page, older["id"], "Grace Hopper")
        expect(_row(page, older["id"])).to_contain_text("Grace Hopper")
        expect(_row(page, older["id"]).get_by_role("button")).to_have_count(0)
        expect(_row(page, newer["id"])).to_contain_text("Unknown face")
        keep_screenshots(page, "past-events")
        _name(page, newer["id"], "Grace Hopper")
        problem = page.locator("#name-problem")
        expect(problem).to_contain_text("unlike the other photos of Grace Hopper")
        page.screenshot(path=OUTPUT / "past-events-refused.png")
        page.keyboard.press("Escape")
        (grace,) = _get(facewire.url, "api/identities")
        assert (grace["name"], grace["n_photos"]) == ("Grace Hopper", 1)
        (track,) = _get(facewire.url, "api/cameras/desk/tracks")["tracks"]
        assert track["name"] is None
        _name(page, newer["id"], "Grace Hopper")
        page.get_by_label("Add anyway: I know who this is").check()
        page.click("#name-save")
        expect(_row(page, newer["id"])).to_contain_text("Grace Hopper")


def test_a_long_outage_leaves_no_gap_in_the_list(tmp_path: Path) -> None:
    require_chromium()
    people = tmp_path / "people"
    nobody = still_film(tmp_path / "nobody.mp4")
    arguments = (f"--gallery={people}", f"--camera=desk={nobody}")
    with HeldPort() as held, chromium() as browser:
        with service("gap-before", tmp_path, *arguments, port=held.port) as facewire:
            page = open_page(browser, facewire.url + "#/events")
            expect(page.locator("#event-list .event")).not_to_have_count(0)
            (first,) = page.evaluate(IDS)
        with EventLog.open(people) as log:  # as many as two pages and a part of the third
            for _ in range(120):
                event = Event(EventKind.CAMERA_UP, "desk", 0.0, None, None, 0.0, None)
                newest = log.append(event, 1_800_000_000.0).id
        with service("gap-after", tmp_path, *arguments, port=held.port):
            expect(page.locator(f'#event-list [data-id="{newest + 1}"]')).to_be_visible()
            expect(page.locator(f'#event-list [data-id="{first}"]')).to_be_visible()
            _await(lambda: len(page.evaluate(IDS)) > newest - first)
            ids = page.evaluate(IDS)
            assert ids == list(range(ids[0], first - 1, -1))


def _row(page: Page, event_id: int) -> Locator:
    return page.locator(f'#event-list [data-id="{event_id}"]')


def _name(page: Page, event_id: int, name: str) -> None:
    _row(page, event_id).get_by_role("button", name="Name").click()
    page.fill("#name-input", name)
    page.click("#name-save")


def _get(url: str, path: str) -> Any:
    with urlopen(url + path, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def _strangers(url: str) -> list[dict[str, Any]]:
    return list(_get(url, "api/events?kind=unknown")["events"])


def _await(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)
