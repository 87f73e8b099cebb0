"""A service that falls silent without closing anything, as a cut network does."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.harness import chromium, open_page, require_chromium, service

pytestmark = pytest.mark.e2e


def test_the_page_notices_silence_and_comes_back(tmp_path: Path) -> None:
    require_chromium()
    with service("outage", tmp_path) as running, chromium() as browser:
        page = open_page(browser, running.url)
        link = page.locator("#link-text")
        expect(link).to_have_text("Connected")
        running.process.send_signal(signal.SIGSTOP)
        try:
            expect(link).to_have_text("Reconnecting")
        finally:
            running.process.send_signal(signal.SIGCONT)
        expect(link).to_have_text("Connected")
        expect(page.locator("#refusal")).to_be_hidden()
