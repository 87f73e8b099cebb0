"""Zones in Chromium: drawn on a camera's image, shown over its video, and used by a rule."""

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.harness import (
    RunningService,
    chromium,
    go,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e


def zones_of(facewire: RunningService) -> Any:
    with urlopen(f"{facewire.url}api/cameras/door") as answer:
        return json.load(answer)["settings"]["zones"]


def click(page: Page, area: Locator, x: float, y: float) -> None:
    """Click on a part of an image, x and y in 0 to 1 of it."""
    box = area.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_zone_is_drawn_kept_shown_and_removed(tmp_path: Path) -> None:
    require_chromium()
    arguments = ("--camera=door=demo:", f"--gallery={tmp_path / 'people'}")
    with service("zones-page", tmp_path, *arguments) as facewire, chromium() as browser:
        page = open_page(browser, f"{facewire.url}#/settings")
        card = page.locator('.camera-item[data-camera="door"]')
        expect(card).to_have_attribute("data-state", "live")
        card.get_by_role("button", name="Change").click()
        expect(page.locator("#zone-image")).to_be_visible()
        area = page.locator("#zone-area")
        area.scroll_into_view_if_needed()
        click(page, area, 0.9, 0.1)
        page.get_by_role("button", name="Point 1 of the new zone").press("Delete")
        for x, y in ((0.1, 0.5), (0.4, 0.5), (0.4, 0.9), (0.1, 0.9), (0.1, 0.5)):
            click(page, area, x, y)
        name = page.get_by_role("textbox", name="Name of the zone")
        expect(name).to_have_value("zone-1")
        name.fill("porch")
        corner = page.get_by_role("button", name="Point 3 of")
        corner.hover()
        page.mouse.down()
        box = area.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=3)
        page.mouse.up()
        page.get_by_role("button", name="Point 1 of").press("ArrowLeft")
        page.click("#zone-add")
        expect(page.get_by_role("button", name="Point 4 of zone-1")).to_be_visible()
        keep_screenshots(page, "zones-form")
        page.get_by_role("button", name="Remove the zone zone-1").click()
        page.click("#camera-save")
        expect(card).to_contain_text("Zones porch")
        kept = zones_of(facewire)["porch"]
        wanted = [(0.09, 0.5), (0.4, 0.5), (0.6, 0.8), (0.1, 0.9)]
        assert [tuple(point) for point in kept] == [
            pytest.approx(each, abs=0.01) for each in wanted
        ]

        go(page, "#/live/door")
        outlines = page.locator("#live-zones")
        expect(outlines).to_contain_text("porch")
        expect(page.locator("#stage")).to_have_attribute("data-state", "playing")
        expect(page.locator("#live-zones polygon[data-occupied]")).to_have_count(1)
        keep_screenshots(page, "zones-live")
        page.get_by_role("switch", name="Show zones").click()
        expect(outlines).to_be_hidden()

        go(page, "#/rules")
        page.click("#rule-add")
        expect(page.locator("#rule-zones")).to_contain_text("porch")
        page.locator("#rule-zones").scroll_into_view_if_needed()
        keep_screenshots(page, "zones-rule")
        page.keyboard.press("Escape")
        go(page, "#/settings")
        card.get_by_role("button", name="Change").click()
        page.get_by_role("button", name="Remove the zone porch").click()
        page.click("#camera-save")
        expect(card).not_to_contain_text("porch")
        assert zones_of(facewire) == {}
