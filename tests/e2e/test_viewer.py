"""The page with a viewer's token, which may watch and read: no request of it is refused."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, Response, TimeoutError, expect

from tests.e2e.harness import (
    AFTER_LAYOUT,
    OUTPUT,
    PATIENCE_S,
    await_picture,
    chromium,
    go,
    open_page,
    require_chromium,
    service,
)

pytestmark = pytest.mark.e2e

TOKEN = "correct horse battery staple"
VIEWER_TOKEN = "only the eyes of a sparrow"
VIEWS = ("#/live/demo", "#/wall", "#/events", "#/people", "#/settings", "#/live/yard")
NOT_PRESSED = "#fullscreen, #wall-fullscreen, #sign-out"  # they would cover or end the rest
PRESSED = "button:visible, input:visible, select:visible, summary:visible"
ADD_A_CAMERA_THAT_IS_OFF = """async () => {
    const body = JSON.stringify({ name: "yard", url: "rtsp://192.0.2.7/live", enabled: false });
    const headers = { "content-type": "application/json" };
    return (await fetch("api/cameras", { method: "POST", headers, body })).ok;
}"""


class Answers:
    """Waits for the service's pending answers to a page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._pending: set[Request] = set()
        page.on("request", lambda request: self._pending.add(request))
        page.on("requestfinished", lambda request: self._pending.discard(request))
        page.on("requestfailed", lambda request: self._pending.discard(request))

    def settle(self) -> None:
        self._page.evaluate(AFTER_LAYOUT)  # a click's request has begun by then
        deadline = time.monotonic() + PATIENCE_S
        while self._pending:
            assert time.monotonic() < deadline, [request.url for request in self._pending]
            self._page.wait_for_timeout(20)


def test_a_viewer_is_offered_nothing_that_is_refused(tmp_path: Path) -> None:
    require_chromium()
    tokens: dict[str, Any] = {"token": TOKEN, "viewer_token": VIEWER_TOKEN}
    with service("viewer", tmp_path, **tokens) as facewire, chromium() as browser:
        admin = open_page(browser, facewire.url)
        _sign_in(admin, TOKEN)
        assert admin.evaluate(ADD_A_CAMERA_THAT_IS_OFF)
        expect(admin.locator("#own-camera")).to_be_visible()

        page = open_page(browser, facewire.url)
        refused: list[str] = []

        def note(response: Response) -> None:
            if response.status == 403:
                refused.append(f"{response.request.method} {urlsplit(response.url).path}")

        _sign_in(page, VIEWER_TOKEN)
        page.on("response", note)
        go(page, "#/live/demo")
        await_picture(page)
        expect(page.locator('#in-view [data-state="unknown"]').first).to_be_visible(
            timeout=PATIENCE_S * 1000
        )
        page.screenshot(path=OUTPUT / "viewer-live.png")
        answers = Answers(page)
        for view in VIEWS:
            _press_everything(page, view, answers)
        assert not refused
        expect(page.locator(".toast.bad")).to_have_count(0)
        _look_at_somebody(page)
        go(page, "#/settings")
        page.get_by_role("button", name="Sign in as administrator").click()
        page.fill("#token-input", TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Change yard")).to_be_visible()


def _sign_in(page: Page, token: str) -> None:
    page.fill("#token-input", token)
    page.keyboard.press("Enter")
    expect(page.locator("#link")).to_have_attribute("data-state", "open")


def _press_everything(page: Page, view: str, answers: Answers) -> None:
    go(page, view)
    expect(page.locator("main .view:visible h2").first).to_be_visible()
    page.screenshot(path=OUTPUT / f"viewer{view[1:].replace('/', '-')}.png")
    for element in page.locator(PRESSED).and_(page.locator(f":not({NOT_PRESSED})")).all():
        if element.is_visible() and element.is_enabled():
            with suppress(TimeoutError):  # it may have gone, or moved behind another, by now
                element.click(timeout=5000)
            answers.settle()
            page.keyboard.press("Escape")
            expect(page.locator("dialog[open]")).to_have_count(0)
            go(page, view)


def _look_at_somebody(page: Page) -> None:
    go(page, "#/people")
    page.locator(".person-open").first.click()
    sheet = page.locator("#person-sheet")
    expect(sheet.locator("img").first).to_be_visible()
    page.screenshot(path=OUTPUT / "viewer-person.png")
    expect(sheet.locator("button:visible, input:visible")).to_have_count(1)
    sheet.get_by_role("button", name="Close").click()
