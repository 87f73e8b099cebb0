"""The page's visits: the demo's people live by row, shareable filters, and the report as CSV."""

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.harness import (
    PATIENCE_S,
    chromium,
    go,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e


def test_the_demo_is_shown_by_person_and_hour(tmp_path: Path) -> None:
    require_chromium()
    with service("visits", tmp_path) as running, chromium() as browser:
        page = open_page(browser, running.url + "#/visits")
        row = page.locator(".visit-row[data-known]").first
        expect(row.locator(".visit-bar").first).to_be_visible()
        expect(row.locator(".visit-bar").first).to_have_attribute("data-now", "")
        name = str(row.get_attribute("data-who"))
        expect(page.locator("#present-count")).to_contain_text("in view now")
        expect(page.locator("#present")).to_contain_text(name)
        expect(page.locator(".hours-plot")).to_have_attribute("aria-label", re.compile(r": \d"))
        page.get_by_text("Attendance", exact=True).click()
        attended_row = page.locator(".attendance tbody tr", has_text=name)
        expect(attended_row).to_be_visible()
        expect(attended_row).to_contain_text("0:0")
        keep_screenshots(page, "visits")

        page.get_by_label("Zoom in").click()
        page.wait_for_function(
            "() => { const c = document.getElementById('visit-chart');"
            " return c.scrollWidth > 1.5 * c.clientWidth; }"
        )
        page.fill("#visit-name", name)
        page.wait_for_function("() => location.hash.includes('name=')")
        expect(page.locator(".visit-rows .visit-row")).to_have_count(1)
        address = page.url
        with page.expect_download(timeout=PATIENCE_S * 1000) as download:
            page.click("#visit-report")
        text = download.value.path().read_bytes().decode()
        (attended,) = csv.DictReader(io.StringIO(text, newline=""))
        assert attended["name"] == name
        assert float(attended["total_s"]) >= 0
        assert int(attended["visits"]) >= 1
        with page.expect_download(timeout=PATIENCE_S * 1000) as download:
            page.click("#visit-csv")
        visits = list(csv.DictReader(download.value.path().read_text().splitlines()))
        assert {visit["name"] for visit in visits} == {name}

        page.locator(".visit-bar").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#view-events")).to_be_visible()
        expect(page.locator("#filter-name")).to_have_value(name)

        other = open_page(browser, address)  # the filters are in the address
        expect(other.locator("#visit-name")).to_have_value(name)
        expect(other.locator(".visit-rows .visit-row")).to_have_count(1)
        go(other, "#/visits?day=2020-01-01")
        expect(other.locator("#visit-empty")).to_contain_text("Nobody came into view on this day")
