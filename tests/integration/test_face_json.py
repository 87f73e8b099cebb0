"""One face is one JSON: from the command line, over HTTP, and over the WebSocket."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gallery import Gallery, NewPhoto
from recognizer import Recognizer, open_recognizer, read_photo
from stream.api.app import create_app
from stream.enrollment.naming import Matching
from stream.events.log import EventLog
from stream.frames import Track, TrackState
from tests.fake_service import FakePhotoWorker, FakeService
from tests.shared_data import photos

pytestmark = pytest.mark.integration

FACE = {"box", "score", "landmarks", "gender", "age"}
MATCH = {"name", "similarity", "identity_id"}


def command(*arguments: object) -> Any:
    """Return the document that a command prints."""
    facewire = Path(sys.executable).with_name("facewire")
    result = subprocess.run(
        [facewire, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(result.stdout)


def enrolled(recognizer: Recognizer, gallery: Gallery) -> None:
    """Enroll the person of the photo that is asked about, by another photo."""
    ((face,),) = recognizer.recognize([read_photo(photos() / "obama3.jpg").image])
    gallery.photos.add("Ada", [NewPhoto(face.embedding, None, "a" * 64, 0.5)])


def test_the_command_line_http_and_the_websocket_agree_on_a_photo(tmp_path: Path) -> None:
    photo = photos() / "obama.jpg"
    recognizer = open_recognizer(attributes=True)
    with Gallery.open(
        tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        enrolled(recognizer, gallery)
    (detected,) = command("detect", photo)
    (identified,) = command("identify", photo, "--gallery", tmp_path, "--candidates", 1)
    compared = command("compare", photo, photo)
    with (
        Gallery.open(
            tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        service = FakeService(gallery, event_log)
        service.matching = Matching(recognizer, gallery, threshold=None, margin=None)
        service.photo_worker = FakePhotoWorker(recognizer)
        read = read_photo(photo)
        ((face,),) = recognizer.recognize([read.image], any_way_up=True)
        face = face.enlarged(read.scale)
        (match,) = gallery.search(face.embedding[None], threshold=service.matching.threshold)
        track = Track("run-1", face.box, face.score, 1.0, 2.0, TrackState.KNOWN, match)
        service.cameras.show_faces("door", (track,))
        application = create_app(service)  # type: ignore[arg-type]
        with TestClient(application, base_url="http://127.0.0.1:8080") as client:
            answer = client.post(
                "/api/identify",
                files={"photo": (str(photo), photo.read_bytes())},
                data={"candidates": "1"},
            ).json()
            with client.websocket_connect("ws://127.0.0.1:8080/api/ws") as socket:
                socket.send_json({"type": "follow", "camera": "door"})
                while (message := socket.receive_json())["type"] != "tracks":
                    pass
            polled = client.get("/api/cameras/door/tracks").json()
    assert answer == identified
    (whole,) = identified["faces"]
    assert set(whole) == FACE | {"match", "candidates"}
    assert whole["match"]["name"] == "Ada"
    assert set(whole["match"]) == MATCH
    assert whole["candidates"] == [whole["match"]]
    plain = {key: whole[key] for key in FACE}
    assert detected["faces"] == [plain]
    assert compared["a"] == compared["b"] == plain
    (live,) = message["tracks"]
    assert polled["tracks"] == [live]
    assert live["box"] == whole["box"]
    assert {key: live[key] for key in MATCH} == whole["match"]
