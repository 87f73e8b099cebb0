"""Zones in the real service: a face that walks from the street onto the porch."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest

from tests.e2e.harness import PATIENCE_S, RunningService, service
from tests.integration.test_webhooks import receiving
from tests.shared_data import photos, read_bgr

pytestmark = pytest.mark.integration

FPS, WIDTH, HEIGHT, FACE = 10, 640, 360, 240

CONFIG = """
[events]
absence_s = 0.5

[[cameras]]
name = "door"
url = "{film}"
loop = false

[cameras.zones]
porch = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
roof = [[0, 0], [1, 0], [1, 0.05]]

[[rules]]
name = "On the porch"
zones = ["porch"]
then = [{{ type = "webhook", url = "{url}" }}]

[[rules]]
name = "At the door"
then = [{{ type = "webhook", url = "{url}" }}]
"""


def film(path: Path) -> Path:
    """Write a film in which a face stands on the left, walks to the right and is gone."""
    photo = cv2.resize(read_bgr(photos() / "obama.jpg"), (FACE, FACE))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    places = [*[20] * 25, *range(20, 380, 18), *[380] * 15]
    for x in places:
        frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        frame[60 : 60 + FACE, x : x + FACE] = photo
        writer.write(frame)
    for _ in range(2 * FPS):
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    writer.release()
    return path


def ask(running: RunningService, path: str, method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(f"{running.url}{path}", data, headers, method=method)
    with urlopen(request) as answer:
        return json.load(answer)


def test_a_face_that_walks_onto_the_porch_is_notified_once(tmp_path: Path) -> None:
    config = tmp_path / "facewire.toml"
    with receiving() as receiver:
        text = CONFIG.format(film=film(tmp_path / "street.avi"), url=receiver.url)
        config.write_text(text)
        with service("zones", tmp_path / "data", f"--config={config}") as running:
            until = time.monotonic() + PATIENCE_S
            while not ask(running, "api/events?kind=exit")["events"] or len(receiver.came) < 2:
                assert time.monotonic() < until, ask(running, "api/events")
                time.sleep(0.1)
            events = ask(running, "api/events?kind=unknown&kind=zone&kind=exit")["events"][::-1]
            assert [(each["kind"], each["zones"]) for each in events] == [
                ("unknown", []),
                ("zone", ["porch"]),
                ("exit", ["porch"]),
            ]
            assert len({each["track_id"] for each in events}) == 1
            assert events[1]["has_crop"]
            found = ask(running, "api/events?zone=porch")["events"][::-1]
            assert found == events[1:]
            assert ask(running, "api/events?zone=roof")["events"] == []

            settings = {"roof": [[0, 0], [1, 0], [1, 0.05]]}
            unknown = "rule 'On the porch' is of zone 'porch', which no camera has"
            assert unknown not in str(ask(running, "healthz"))
            camera = ask(running, "api/cameras/door", "PATCH", {"zones": settings})
            assert camera["settings"]["zones"] == settings
            assert unknown in str(ask(running, "healthz")["problems"])
            with pytest.raises(HTTPError) as refused:
                ask(running, "api/cameras/door", "PATCH", {"zones": {"bow": [[0, 0], [1, 1]]}})
            assert "zones.bow: a zone has 3 to 20 points, got 2" in refused.value.read().decode()
            assert ask(running, "api/cameras/door")["settings"]["zones"] == settings
        sent = [json.loads(body) for _, body in receiver.came]
        assert sorted((each["rule"], each["event"]["kind"]) for each in sent) == [
            ("At the door", "unknown"),
            ("On the porch", "zone"),
        ]
        (porch,) = (each for each in sent if each["rule"] == "On the porch")
        assert porch["text"].endswith("entered porch at door")
        command = Path(sys.executable).with_name("facewire")
        printed = subprocess.run(
            [command, "events", "--zone", "porch", f"--config={config}", "--json"],
            capture_output=True,
            check=True,
            env={"PATH": "/usr/bin:/bin", "FACEWIRE_DATA": str(tmp_path / "data")},
        )
        assert [each["id"] for each in json.loads(printed.stdout)] == [each["id"] for each in found]
