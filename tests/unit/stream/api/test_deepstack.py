"""The face API of DeepStack and CodeProject.AI."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from gallery import NewPhoto
from stream.api.dialects import DeepStackDialect
from stream.api.security import Attempts
from tests import dialect_app
from tests.dialect_app import TOKEN, VIEWER, fake_service
from tests.fake_service import FakeService
from tests.fakes import FakeFace, looks_like

FACE = "/v1/vision/face"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with fake_service(tmp_path) as running:
        yield running


opened = partial(dialect_app.opened, deepstack=True)


@pytest.fixture
def client(service: FakeService) -> TestClient:
    return opened(service)


@pytest.fixture
def guarded(service: FakeService) -> TestClient:
    return opened(service, token=TOKEN, viewer_token=VIEWER)


def photo(service: FakeService, *people: int, size: float = 80) -> dict[str, Any]:
    """Return a PNG in which the fake recognizer finds these people, as the part of a form."""
    faces = [
        FakeFace(person, x=100 + 150 * place, size=size) for place, person in enumerate(people)
    ]
    frame = service.world.frame(faces, at=0.0, scene=len(service.world.scenes))
    _, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    return {"image": ("face.png", png.tobytes(), "image/png")}


def enroll(service: FakeService, name: str, person: int) -> None:
    crop = np.full((112, 112, 3), person, np.uint8)
    service.gallery.photos.add(name, [NewPhoto(looks_like(person), crop, f"{person:064x}", 0.9)])


def names(service: FakeService) -> list[str]:
    return [each.identity.name for each in service.gallery.people.summaries()]


def refused(answer: Any, status: int, *words: str, code: int = 0) -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"success", "error", "code"}
    assert answer.json()["success"] is False
    assert answer.json()["code"] == code or status
    for word in words:
        assert word in answer.json()["error"]


def test_it_is_off_by_default(service: FakeService):
    client = opened(service, deepstack=False)
    assert client.post(f"{FACE}/list").status_code in (404, 405)
    assert FACE not in client.get("/openapi.json").json()["paths"]


def test_a_person_is_registered_recognized_listed_and_deleted(
    client: TestClient, service: FakeService
):
    answer = client.post(f"{FACE}/register", files=photo(service, 1), data={"userid": "Ada"})
    assert answer.json() == {"success": True, "code": 200, "message": "face added"}
    answer = client.post(f"{FACE}/register", files=photo(service, 1), data={"userid": "ada"})
    assert answer.json()["message"] == "face updated"
    assert client.post(f"{FACE}/list").json() == {"success": True, "code": 200, "faces": ["Ada"]}
    answer = client.post(f"{FACE}/recognize", files=photo(service, 1, 3))
    ada, stranger = answer.json()["predictions"]
    assert ada["userid"] == "Ada"
    assert ada["confidence"] > 0.9
    box = {key: value for key, value in ada.items() if key not in ("userid", "confidence")}
    assert box == {"x_min": 60, "y_min": 60, "x_max": 140, "y_max": 140}
    assert (stranger["userid"], stranger["confidence"]) == ("unknown", 0.0)
    for _ in range(2):  # nobody of that name is no error
        assert client.post(f"{FACE}/delete", data={"userid": "ADA"}).json()["success"] is True
    assert names(service) == []


def test_the_least_confidence_is_that_of_the_client(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    for person, least, name in (
        (1, "0.9", "Ada"),
        (1, "", "Ada"),
        (3, "", "unknown"),
        (3, "0.2", "unknown"),
        (3, "0", "Ada"),
    ):
        form = {"min_confidence": least}
        answer = client.post(f"{FACE}/recognize", files=photo(service, person), data=form)
        assert answer.json()["predictions"][0]["userid"] == name
    for wrong in ("1.1", "-1", "x", "nan"):
        form = {"min_confidence": wrong}
        refused(client.post(f"{FACE}/recognize", files=photo(service, 1), data=form), 400)


def test_several_photos_are_registered_at_once(client: TestClient, service: FakeService):
    files = {f"image{n}": photo(service, 1)["image"] for n in range(3)}
    files["image3"] = photo(service)["image"]
    answer = client.post(f"{FACE}/register", files=files, data={"userid": "Ada"})
    assert answer.json()["message"].startswith("face added; 1 photos were not taken: no face")
    assert service.gallery.people.summaries()[0].n_photos == 3


def test_faces_are_found_and_compared(client: TestClient, service: FakeService):
    found = client.post(FACE, files=photo(service, 1, 2)).json()["predictions"]
    assert len(found) == 2
    assert "userid" not in found[0]
    assert client.post(FACE, files=photo(service)).json()["predictions"] == []
    for other, is_alike in ((1, True), (2, False)):
        files = {"image1": photo(service, 1)["image"], "image2": photo(service, other)["image"]}
        similarity = client.post(f"{FACE}/match", files=files).json()["similarity"]
        assert (similarity > 0.5) == is_alike
    refused(client.post(f"{FACE}/match", files=photo(service, 1)), 400, "two photos")


def test_photos_that_cannot_be_used(client: TestClient, service: FakeService):
    nobody = client.post(f"{FACE}/recognize", files=photo(service))
    assert nobody.status_code == 200
    assert nobody.json() == {"success": False, "error": "No face found in image", "code": 500}
    refused(client.post(f"{FACE}/recognize", files={"image": b"nothing"}), 400, "invalid image")
    refused(client.post(f"{FACE}/recognize", data={"image": "x"}), 400, "a photo is needed")
    refused(client.post(f"{FACE}/recognize"), 400, "a photo is needed")
    form = {"userid": "Ada"}
    refused(client.post(f"{FACE}/register", data=form), 400, "a photo is needed")
    refused(client.post(f"{FACE}/register", files=photo(service), data=form), 400, "no face")
    small = photo(service, 1, size=30)
    refused(client.post(f"{FACE}/register", files=small, data=form), 400, "too small")
    refused(client.post(f"{FACE}/register", files=photo(service, 1)), 400, "userid")
    name = {"userid": "a\x00b"}
    refused(client.post(f"{FACE}/register", files=photo(service, 1), data=name), 422, "name")
    refused(client.post(f"{FACE}/delete"), 400, "userid")
    size = {
        "content-length": str(DeepStackDialect().max_bytes + 1),
        "content-type": "multipart/form-data; boundary=b",
    }
    refused(client.post(FACE, content=b"", headers=size), 413, "larger")
    assert names(service) == []


def test_the_key_is_a_field_of_the_form(guarded: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    refused(guarded.post(f"{FACE}/list"), 401, "missing")
    refused(guarded.post(f"{FACE}/list", data={"api_key": "wrong"}), 401, "Incorrect")
    for form in ({"api_key": VIEWER}, {"admin_key": TOKEN}):
        assert guarded.post(f"{FACE}/list", data=form).json()["faces"] == ["Ada"]
        answer = guarded.post(f"{FACE}/recognize", files=photo(service, 1), data=form)
        assert answer.json()["predictions"][0]["userid"] == "Ada"
    form = {"api_key": VIEWER, "userid": "Ada"}
    refused(guarded.post(f"{FACE}/delete", data=form), 403, "viewers")
    refused(guarded.post(f"{FACE}/register", files=photo(service, 1), data=form), 403, "viewers")
    assert names(service) == ["Ada"]
    form = {"api_key": TOKEN, "userid": "Ada"}
    assert guarded.post(f"{FACE}/delete", data=form).json()["success"] is True


def test_guessing_keys_is_refused_after_some(service: FakeService):
    guarded = opened(service, token=TOKEN, port=8081)  # counted by application
    for _ in range(Attempts.MAX_FAILURES):
        refused(guarded.post(f"{FACE}/list", data={"api_key": "wrong"}), 401)
    refused(guarded.post(f"{FACE}/list", data={"api_key": "wrong"}), 429)
    answer = guarded.get("/api/integrations", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.json()["integrations"][-1]["detail"] == "11 requests, 11 refused"
    assert guarded.post(f"{FACE}/list", data={"api_key": TOKEN}).status_code == 200


def test_the_session_of_the_page_is_no_key_and_other_sites_are_refused(
    guarded: TestClient, client: TestClient, service: FakeService
):
    guarded.post("/api/session", json={"token": TOKEN})
    refused(guarded.post(f"{FACE}/list"), 401)
    client = opened(service)
    refused(client.post(f"{FACE}/list", headers={"origin": "https://page.example"}), 403)


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "utf_16"])
def test_texts_in_other_encodings_are_refused_before_they_are_decoded(
    service: FakeService, charset: str
):
    """Before its key is known, a client must not choose how long a text takes to decode."""
    client = opened(service, token=TOKEN)
    body = b'--x\r\nContent-Disposition: form-data; name="api_key"\r\n\r\n+2AA-\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    refused(client.post(f"{FACE}/list", content=body, headers={"content-type": kind}), 400, "UTF-8")
