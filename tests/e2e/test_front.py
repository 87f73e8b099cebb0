"""The page of one machine shows the cameras of another, and gets them back after its death."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stream.cluster.coordinator import CoordinatorThread
from stream.cluster.database import ClusterDatabase
from stream.config import CameraConfig
from tests.e2e.harness import (
    PATIENCE_S,
    await_picture,
    chromium,
    go,
    keep_screenshots,
    now_ms,
    open_page,
    require_chromium,
)
from tests.machines import Machines
from tests.postgres_server import postgres_server

pytestmark = pytest.mark.e2e


def test_a_placed_camera_is_live_again_by_itself_when_its_machine_is_killed(
    tmp_path: Path,
) -> None:
    require_chromium()
    with postgres_server() as server, chromium() as browser:
        address = server.new_database()
        machines, database = Machines(tmp_path, address), ClusterDatabase(address)
        coordinator = CoordinatorThread(address, "a third machine")
        coordinator.start()
        door = CameraConfig.model_validate({"name": "door", "url": "demo:"})
        with machines.start("house", "--cluster") as house:
            database.want(door, None)
            with machines.start("gate", "--cluster") as gate:
                page = open_page(browser, f"{gate.url}#/live/door")
                await_picture(page, after=now_ms(page))
                loaded = page.evaluate("window.loadedAt")
                assert database.state().placed == {"door": "house"}
                os.kill(house.process.pid, signal.SIGKILL)
                house.process.wait()
                pause, until = threading.Event(), time.monotonic() + PATIENCE_S
                while database.state().placed != {"door": "gate"}:
                    assert time.monotonic() < until
                    pause.wait(0.1)
                await_picture(page, after=now_ms(page))
                expect(page.locator("#veil")).to_be_hidden()
                assert page.evaluate("window.loadedAt") == loaded
        coordinator.stop(PATIENCE_S)
        database.close()
        machines.close()


def test_a_camera_of_another_machine_is_live_and_comes_back(tmp_path: Path) -> None:
    require_chromium()
    with postgres_server() as server, chromium() as browser:
        machines = Machines(tmp_path, server.new_database())
        with machines.start("gate", "--camera=yard=rtsp://127.0.0.1:9/none") as gate:
            page = open_page(browser, gate.url)
            go(page, "#/wall")
            door = page.locator('#wall [data-camera="door"]')
            with machines.start("house", "--camera=door=demo:") as house:
                expect(door).to_have_attribute("data-state", "playing")
                keep_screenshots(page, "machines-wall")
                go(page, "#/live/door")
                await_picture(page, after=now_ms(page))
                expect(page.locator("#in-view li").first).to_be_visible()
                keep_screenshots(page, "machines-live")
                os.kill(house.process.pid, signal.SIGKILL)
                house.process.wait()
            expect(page.locator("#veil")).to_be_visible()
            expect(page.locator("#veil-text")).to_contain_text(
                "Machine house, which runs it, does not answer"
            )
            keep_screenshots(page, "machines-away")
            go(page, "#/settings")
            expect(page.locator("#machine-list")).to_contain_text("Away for")
            expect(page.locator('#camera-list [data-camera="door"]')).to_contain_text("On house")
            keep_screenshots(page, "machines-settings")
            go(page, "#/live/door")
            with machines.start("house", "--camera=door=demo:"):
                await_picture(page, after=now_ms(page))
                expect(page.locator("#veil")).to_be_hidden()
        machines.close()
