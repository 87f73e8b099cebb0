"""What tests of the HTTP API share: a token, requests, and what is in the service."""

import cv2
import numpy as np

from gallery import NewPhoto
from stream.frames import Event, EventKind
from tests.fakes import looks_like

TOKEN = "correct horse battery"
HERE = "http://127.0.0.1:8080"
SDP = {"content-type": "application/sdp"}


def enrol(service, name, person):
    crop = np.full((112, 112, 3), person, np.uint8)
    return service.gallery.photos.add(
        name, [NewPhoto(looks_like(person), crop, f"{person:064x}", 0.9)]
    )[0]


def photo(service, *faces):
    """Return a PNG in which the fake recognizer detects these faces."""
    frame = service.world.frame(faces, at=0.0, scene=len(service.world.scenes))
    _, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def assert_error(answer, status_code, *words):
    assert answer.status_code == status_code
    body = answer.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    for word in words:
        assert word in body["error"]


def happen(service, kind, *, match=None, camera="door", track_id=1):
    is_face = kind not in (EventKind.CAMERA_UP, EventKind.CAMERA_DOWN)
    crop = np.zeros((112, 112, 3), np.uint8) if is_face else None
    event = Event(kind, camera, 5.0, f"run-{track_id}" if is_face else None, match, 4.0, crop)
    return service.event_log.append(event, 1_700_000_000.25)
