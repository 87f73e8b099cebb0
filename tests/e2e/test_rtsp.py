"""A camera with a password that disconnects and returns."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.e2e.harness import (
    OUTPUT,
    await_frames,
    await_picture,
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


def test_camera_with_a_password_comes_back_by_itself(tmp_path: Path) -> None:
    require_chromium()
    require(why_unavailable())
    with RtspServer(user="viewer", password=PASSWORD) as camera:
        arguments = (f"--camera=door={camera.url}", f"--gallery={tmp_path / 'people'}")
        with service("rtsp", tmp_path, *arguments) as facewire, chromium() as browser:
            page = open_page(browser, facewire.url)
            await_picture(page)
            await_frames(page)

            camera.kill()
            title = page.locator("#veil-title")
            expect(title).to_have_text("No video from door")
            page.screenshot(path=OUTPUT / "rtsp-failing.png")

            camera.start()
            await_picture(page, after=now_ms(page))
            expect(page.locator("#veil")).to_be_hidden()
            await_frames(page)

            with urlopen(f"{facewire.url}api/cameras") as answer:
                told = answer.read().decode()
            assert "rtsp://***@" in told
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
            expect(failing).to_contain_text("password")
            assert PASSWORD not in page.content()
            assert PASSWORD not in facewire.log.read_text()
