"""A camera with a password that dies and comes back."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.e2e.harness import (
    OUTPUT,
    await_picture,
    best_frames_per_s,
    chromium,
    now_ms,
    open_page,
    require,
    require_chromium,
    service,
)
from tests.rtsp_server import RtspServer, why_unavailable

pytestmark = pytest.mark.e2e

PASSWORD = "s3cret-of-the-door"


def test_camera_with_a_password_returns_within_five_seconds(tmp_path: Path) -> None:
    require_chromium()
    require(why_unavailable())
    with RtspServer(user="viewer", password=PASSWORD) as camera:
        arguments = (f"--camera=door={camera.url}", f"--gallery={tmp_path / 'people'}")
        with service("rtsp", tmp_path, *arguments) as facewire, chromium() as browser:
            page = open_page(browser, facewire.url)
            await_picture(page)
            assert best_frames_per_s(page, 20.0) >= 20.0

            camera.kill()
            title = page.locator("#veil-title")
            expect(title).to_have_text("No picture from door", timeout=15000)
            page.wait_for_timeout(3000)
            page.screenshot(path=OUTPUT / "rtsp-failing.png")

            camera.start()
            returned = now_ms(page)
            assert await_picture(page, after=returned) - returned < 5000.0
            expect(page.locator("#veil")).to_be_hidden()
            assert best_frames_per_s(page, 20.0) >= 20.0

            with urlopen(f"{facewire.url}api/cameras") as answer:
                told = answer.read().decode()
            assert "viewer:***@" in told
            for text in (told, page.content(), facewire.log.read_text()):
                assert PASSWORD not in text


def test_wrong_password_is_said_and_never_shown(tmp_path: Path) -> None:
    require_chromium()
    require(why_unavailable())
    with RtspServer(user="viewer", password=PASSWORD) as camera:
        wrong = camera.url_for("viewer", "not-" + PASSWORD)
        arguments = (f"--camera=door={wrong}", f"--gallery={tmp_path / 'people'}")
        with service("rtsp-wrong", tmp_path, *arguments) as facewire, chromium() as browser:
            page = open_page(browser, facewire.url)
            failing = page.locator('#veil[data-state="failing"]')
            expect(failing).to_contain_text("password", timeout=15000)
            assert PASSWORD not in page.content()
            assert PASSWORD not in facewire.log.read_text()
