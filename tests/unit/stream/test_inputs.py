"""Whatever is sent as text or number, the answer is one line and never 500."""

import json
from typing import cast

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.testclient import TestClient

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from stream.inputs import PersonName, Reference, RowNumber, Text, Url
from stream.service import Service
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer

NUMBERS = [2**63, 2**64, 10**30, -1, -(2**63) - 1]
TEXTS = ["\ud800", "caf\udce9", "a\x00b", "x" * 5000, "\u200b", "\u202eanna", ""]


@pytest.fixture
def client(tmp_path):
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        app = create_app(cast(Service, FakeService(gallery, event_log)))
        with TestClient(app, base_url="http://127.0.0.1:8080") as client:
            yield client


def assert_refused(answer):
    assert 400 <= answer.status_code < 500, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]


@pytest.mark.parametrize(
    ("kind", "good", "stored"),
    [
        (PersonName, " Ame\u0301lie  B ", "Am\u00e9lie B"),
        (Reference, "0123abcd", "0123abcd"),
        (RowNumber, 2**53 - 1, 2**53 - 1),
        (Text, "", ""),
    ],
)
def test_what_is_good_passes(kind, good, stored):
    assert TypeAdapter(kind).validate_python(good) == stored


@pytest.mark.parametrize("kind", [PersonName, Reference, Text])
@pytest.mark.parametrize("text", ["\ud800", "caf\udce9", "a\x00b"])
def test_what_no_database_takes_is_refused(kind, text):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize("text", ["rtsp://h/\nWARNING forged", "/x\x1b[31m", "x" * 2001, "\u2028"])
def test_an_address_is_one_short_line(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Url).validate_python(text)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/events?cursor={}"),
        ("GET", "/api/events?limit={}"),
        ("GET", "/api/events/{}/crop.jpg"),
        ("GET", "/api/identities/nobody/photos/{}.jpg"),
        ("DELETE", "/api/identities/nobody/photos/{}"),
        ("GET", "/api/cameras/door/snapshot.jpg?width={}"),
    ],
)
def test_a_number_beyond_every_row_is_refused(client, method, path, number):
    assert_refused(client.request(method, path.format(number)))


@pytest.mark.parametrize("number", [*NUMBERS, 1.5, "1e400", float("inf"), float("nan"), []])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/identities/nobody/split", {"name": "Ada", "photo_ids": ["?"]}),
        ("PATCH", "/api/cameras/door", {"min_face_px": "?", "rotation": "?"}),
        ("POST", "/api/cameras", {"name": "new", "url": "demo:", "target_fps": "?", "region": "?"}),
    ],
)
def test_a_number_in_a_body_too(client, method, path, body, number):
    text = json.dumps(body).replace('"?"', json.dumps(number))
    headers = {"content-type": "application/json"}
    assert_refused(client.request(method, path, content=text, headers=headers))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/identities/nobody", {"name": "?"}),
        ("PATCH", "/api/identities/nobody", {"merge_into": "?"}),
        ("PATCH", "/api/identities/nobody", {"?": "name"}),
        ("POST", "/api/identities/nobody/split", {"name": "?", "photo_ids": [1]}),
        ("POST", "/api/identities/from-camera", {"name": "?", "camera": "door"}),
        ("POST", "/api/identities/from-camera", {"name": "Ada", "camera": "?"}),
        ("POST", "/api/cameras", {"name": "?", "url": "demo:"}),
        ("POST", "/api/cameras", {"name": "new", "url": "/x?", "?": 1}),
        ("PATCH", "/api/cameras/door", {"name": "?"}),
        ("PATCH", "/api/cameras/door", {"rtsp_transport": "?"}),
        ("POST", "/api/cameras/door/tracks/1/name", {"name": "?"}),
        ("POST", "/api/session", {"?": "x"}),
    ],
)
def test_no_text_in_a_body_breaks_the_answer(client, method, path, body, text):
    content = json.dumps(body).replace("?", json.dumps(text)[1:-1])
    headers = {"content-type": "application/json"}
    assert_refused(client.request(method, path, content=content, headers=headers))


@pytest.mark.parametrize("text", ["%ff", "%ed%a0%80", "a%00b", "x" * 5000, "%e2%80%8b", "%0a"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/identities/{}",
        "/api/identities/{}/photos",
        "/api/identities/{}/photo.jpg",
        "/api/cameras/{}",
        "/api/cameras/{}/tracks",
    ],
)
def test_no_text_in_a_path_does(client, path, text):
    assert_refused(client.get(path.format(text)))


@pytest.mark.parametrize("text", ["%ff", "%ed%a0%80", "a%00b", "x" * 5000, "%e2%80%8b"])
@pytest.mark.parametrize("query", ["name", "camera"])
def test_no_filter_does(client, query, text):
    answer = client.get(f"/api/events?{query}={text}")
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json()["events"] == []


@pytest.mark.parametrize("text", TEXTS)
def test_a_form_is_bounded_like_a_body(client, text):
    boundary = "b"
    part = b'content-disposition: form-data; name="name"\r\n\r\n'
    content = text.encode("utf-8", "surrogatepass")
    photo = b'content-disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\nx'
    body = b"--b\r\n" + part + content + b"\r\n--b\r\n" + photo + b"\r\n--b--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = client.post("/api/identities", content=body, headers=headers)
    assert answer.status_code == 422
    assert isinstance(answer.json(), dict)
    assert client.get("/api/identities").json() == []


def test_health_names_a_folder_that_is_not_utf8(client):
    client.app.state.service.complaints = ["the disk of /data/caf\udce9 is full"]
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["problems"] == [r"the disk of /data/caf\xe9 is full"]
