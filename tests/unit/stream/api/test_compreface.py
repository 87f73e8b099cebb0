"""CompreFace's REST API: keys, people, photos, and every refusal with its number."""

import base64
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from gallery import NewPhoto
from stream.api.security import UPLOAD_BYTES, Attempts
from tests import dialect_app
from tests.dialect_app import TOKEN, VIEWER, fake_service
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeFace, looks_like

ELSEWHERE = "https://page.example"
R = "/api/v1/recognition"
JSON = {"content-type": "application/json"}
NO_IMAGE = "00000000-0000-4000-8000-0000000003e7"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with fake_service(tmp_path) as running:
        yield running


opened = partial(dialect_app.opened, compreface=True)


@pytest.fixture
def client(service: FakeService) -> TestClient:
    return opened(service)


@pytest.fixture
def guarded(service: FakeService) -> TestClient:
    return opened(service, token=TOKEN, viewer_token=VIEWER)


def photo(service: FakeService, *people: int, size: float = 80) -> bytes:
    """Return a PNG in which the fake recognizer finds these people."""
    faces = [
        FakeFace(person, x=100 + 150 * place, size=size + 4 * person)
        for place, person in enumerate(people)
    ]
    frame = service.world.frame(faces, at=0.0, scene=len(service.world.scenes))
    _, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def enroll(service: FakeService, name: str, person: int, n: int = 1) -> None:
    crop = np.full((112, 112, 3), person, np.uint8)
    service.gallery.photos.add(
        name,
        [
            NewPhoto(looks_like(person, number), crop, f"{person:032x}{number:032x}", 0.9)
            for number in range(n)
        ],
    )


def sent(data: bytes, name: str = "face.png", part: str = "file") -> dict[str, Any]:
    return {part: (name, data, "image/png")}


def refused(answer: Any, status: int, code: int, *words: str) -> None:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert list(answer.json()) == ["message", "code"]
    assert "\n" not in answer.json()["message"]
    for word in words:
        assert word in answer.json()["message"]


def subjects(client: TestClient) -> list[str]:
    names: list[str] = client.get(f"{R}/subjects").json()["subjects"]
    return names


# Who may ask


def test_it_is_off_by_default(service: FakeService):
    client = opened(service, compreface=False)
    assert client.get(f"{R}/subjects").json() == {"error": "not found"}
    assert "/api/v1/config" not in client.get("/openapi.json").json()["paths"]


def test_it_is_in_the_openapi_document_under_its_own_tag(client: TestClient):
    document = client.get("/openapi.json").json()
    own = {path: each for path, each in document["paths"].items() if path.startswith("/api/v1/")}
    assert len(own) == 14
    for methods in own.values():
        for operation in methods.values():
            assert operation["tags"] == ["CompreFace"]
            assert "CompreFaceErrorJson" in str(operation["responses"]["400"])
            assert "409" not in operation["responses"]
    assert document["components"]["securitySchemes"]["key"]["name"] == "x-api-key"


def test_a_key_is_needed_where_the_service_has_a_token(guarded: TestClient):
    refused(guarded.get(f"{R}/subjects"), 400, 20, "Missing header: x-api-key")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    refused(guarded.get(f"{R}/subjects", headers=bearer), 400, 20)
    assert guarded.get(f"{R}/subjects", headers={"x-api-key": TOKEN}).json() == {"subjects": []}
    assert guarded.get("/api/v1/config").json() == {
        "clientMaxFileSize": UPLOAD_BYTES,
        "clientMaxBodySize": UPLOAD_BYTES,
    }


@pytest.mark.parametrize("service_name", ["Recognition", "Detection", "Verification"])
def test_a_wrong_key_is_never_shown(guarded: TestClient, service_name: str):
    answer = guarded.post(
        f"/api/v1/{service_name.lower()}/x", headers={"x-api-key": "a secret of somebody"}
    )
    refused(answer, 404, 10, f"{service_name} service with this API key not found")
    assert "somebody" not in answer.text


def test_guessing_keys_is_refused_after_some(service: FakeService):
    guarded = opened(service, token=TOKEN, port=8081)  # counted by application
    for _ in range(Attempts.MAX_FAILURES):
        refused(guarded.get(f"{R}/subjects", headers={"x-api-key": "wrong"}), 404, 10)
    refused(guarded.get(f"{R}/subjects", headers={"x-api-key": "wrong"}), 429, 0)
    assert guarded.get(f"{R}/subjects", headers={"x-api-key": TOKEN}).status_code == 200


def test_the_session_of_the_page_is_no_key(guarded: TestClient):
    assert guarded.post("/api/session", json={"token": TOKEN}).status_code == 204
    assert guarded.get("/api/cameras").status_code == 200
    refused(guarded.get(f"{R}/subjects"), 400, 20)


def test_viewers_recognize_and_change_nothing(guarded: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    key, data = {"x-api-key": VIEWER}, photo(service, 1)
    answers = [
        guarded.post(f"{R}/recognize", files=sent(data), headers=key),
        guarded.post("/api/v1/detection/detect", files=sent(data), headers=key),
        guarded.post(
            "/api/v1/verification/verify",
            files={**sent(data, part="source_image"), **sent(data, part="target_image")},
            headers=key,
        ),
        guarded.get(f"{R}/subjects", headers=key),
        guarded.get(f"{R}/faces", headers=key),
    ]
    assert [each.status_code for each in answers] == [200] * 5
    image_id = answers[-1].json()["faces"][0]["image_id"]
    answer = guarded.post(f"{R}/faces/{image_id}/verify", files=sent(data), headers=key)
    assert answer.status_code == 200
    for method, path, more in (
        ("POST", f"{R}/faces?subject=Ada", {"files": sent(data)}),
        ("POST", f"{R}/faces/delete", {"json": [image_id]}),
        ("DELETE", f"{R}/faces", {}),
        ("DELETE", f"{R}/faces/{image_id}", {}),
        ("POST", f"{R}/subjects", {"json": {"subject": "Bob"}}),
        ("PUT", f"{R}/subjects/Ada", {"json": {"subject": "Bob"}}),
        ("DELETE", f"{R}/subjects/Ada", {}),
        ("DELETE", f"{R}/subjects", {}),
    ):
        answer = guarded.request(method, path, headers=key, **more)
        refused(answer, 404, 10, "viewers")
    assert subjects_of(service) == ["Ada"]


def subjects_of(service: FakeService) -> list[str]:
    return [each.identity.name for each in service.gallery.people.summaries()]


def test_without_a_token_any_key_is_taken_and_other_sites_are_refused(
    client: TestClient, service: FakeService
):
    enroll(service, "Ada", 1)
    for headers in ({}, {"x-api-key": "00000000-0000-0000-0000-000000000002"}):
        assert client.get(f"{R}/subjects", headers=headers).status_code == 200
    foreign = {"origin": ELSEWHERE, "x-api-key": "x"}
    answer = client.delete(f"{R}/subjects", headers=foreign)
    refused(answer, 404, 10, "other sites")
    assert "access-control-allow-origin" not in answer.headers
    assert subjects(client) == ["Ada"]
    refused(client.get(f"{R}/subjects", headers={"host": "evil.example"}), 421, 0)


def test_pages_of_other_sites_may_ask_with_a_key(guarded: TestClient):
    asked = {
        "origin": ELSEWHERE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key,content-type",
    }
    preflight = guarded.options(f"{R}/recognize", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    answer = guarded.get(f"{R}/subjects", headers={"origin": ELSEWHERE, "x-api-key": TOKEN})
    assert answer.json() == {"subjects": []}
    assert answer.headers["access-control-allow-origin"] == "*"
    wrong = guarded.get(f"{R}/subjects", headers={"origin": ELSEWHERE})
    refused(wrong, 400, 20)
    assert wrong.headers["access-control-allow-origin"] == "*"
    # facewire's own API stays closed to them
    bearer = {"authorization": f"Bearer {TOKEN}", "origin": ELSEWHERE}
    assert guarded.get("/api/cameras", headers=bearer).status_code == 403


def test_the_name_in_a_composition_of_containers_passes_with_a_key(guarded: TestClient):
    headers = {"host": "facewire:8080", "x-api-key": TOKEN}
    assert guarded.get(f"{R}/subjects", headers=headers).status_code == 200
    assert guarded.get("/api/cameras", headers=headers).status_code == 421


def test_requests_are_counted_among_the_integrations(service: FakeService):
    guarded = opened(service, token=TOKEN, port=8082)  # counted by application
    guarded.get(f"{R}/subjects", headers={"x-api-key": TOKEN})
    guarded.get(f"{R}/subjects")
    answer = guarded.get("/api/integrations", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.json()["integrations"][-1] == {
        "name": "Clients of CompreFace",
        "where": "",
        "is_working": True,
        "detail": "2 requests, 1 refused",
        "trouble": "",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", f"{R}/subjects"), ("GET", f"{R}/recognize"), ("GET", "/api/v1/nothing")],
)
def test_what_does_not_exist_is_a_404_of_their_form(client: TestClient, method: str, path: str):
    refused(client.request(method, path), 404, 0)


# Subjects


def test_a_subject_is_added_listed_renamed_and_removed(client: TestClient, service: FakeService):
    answer = client.post(f"{R}/subjects", json={"subject": "  Ada   Lovelace "})
    assert (answer.status_code, answer.json()) == (201, {"subject": "Ada Lovelace"})
    assert client.get(f"{R}/subjects/").json() == {"subjects": ["Ada Lovelace"]}
    answer = client.put(f"{R}/subjects/ADA%20lovelace", json={"subject": "Ada King"})
    assert (answer.status_code, answer.json()) == (200, {"updated": True})
    assert subjects(client) == ["Ada King"]
    answer = client.delete(f"{R}/subjects/ada king")
    assert (answer.status_code, answer.json()) == (200, {"subject": "Ada King"})
    assert subjects_of(service) == []


def test_all_subjects_are_removed(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    enroll(service, "Bob", 2)
    # CompreFace takes it for all subjects; a client with an empty name does not mean that
    refused(client.delete(f"{R}/subjects/"), 400, 35)
    assert client.delete(f"{R}/subjects").json() == {"deleted": 2}
    assert client.delete(f"{R}/subjects").json() == {"deleted": 0}


def test_renaming_to_somebody_merges(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1, n=2)
    enroll(service, "Countess", 9)
    assert client.put(f"{R}/subjects/COUNTESS", json={"subject": "ada"}).json() == {"updated": True}
    assert subjects(client) == ["Ada"]
    assert client.get(f"{R}/faces?subject=ADA").json()["total_elements"] == 3
    # the case of a name alone
    assert client.put(f"{R}/subjects/ada", json={"subject": "ADA"}).json() == {"updated": True}
    assert subjects(client) == ["ADA"]


@pytest.mark.parametrize("name", ["Zoë", "अदिति", "李雷", "a&b=c?d#e", "50 %", "AC\u2215DC", "+1"])
def test_any_name_is_a_path(client: TestClient, name: str):
    assert client.post(f"{R}/subjects", json={"subject": name}).json() == {"subject": name}
    path = f"{R}/subjects/{quote(name, safe='')}"
    assert client.put(path, json={"subject": f"{name}!"}).json() == {"updated": True}
    path = f"{R}/subjects/{quote(name + '!', safe='')}"
    assert client.delete(path).json() == {"subject": f"{name}!"}


def test_people_named_on_the_page_may_have_slashes(client: TestClient, service: FakeService):
    enroll(service, "AC/DC", 1)
    assert subjects(client) == ["AC/DC"]
    assert client.get(f"{R}/faces?subject=AC/DC").json()["total_elements"] == 1
    answer = client.put(f"{R}/subjects/AC%2FDC", json={"subject": "Angus"})
    assert answer.json() == {"updated": True}
    enroll(service, "a/b", 2)
    assert client.delete(f"{R}/subjects/a%2Fb").json() == {"subject": "a/b"}
    assert subjects(client) == ["Angus"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"subject": "ada"}, 43, "exists"),
        ({"subject": ""}, 26, "cannot be empty"),
        ({"subject": "   "}, 26, "cannot be empty"),
        ({"subject": "x" * 51}, 26, "between 1 and 50"),
        ({"subject": "a/b"}, 36, "/"),
        ({"subject": "a;b"}, 36, ";"),
        ({"subject": "a\\b"}, 36, "\\"),
        ({"subject": "a\tb\x00"}, 26, "control character"),
        ({"subject": None}, 5, "subject cannot be empty"),
        ({"subject": 7}, 26, "subject"),
        ({}, 5, "subject cannot be empty"),
        ([], 26, ""),
    ],
)
def test_names_that_cannot_be(
    client: TestClient, service: FakeService, body: object, code: int, words: str
):
    enroll(service, "Ada", 1)
    refused(client.post(f"{R}/subjects", json=body), 400, code, words)
    if code != 43:
        refused(client.put(f"{R}/subjects/Ada", json=body), 400, code, words)
    assert subjects(client) == ["Ada"]


def test_what_is_no_json_is_refused(client: TestClient):
    refused(client.post(f"{R}/subjects", content=b"{", headers=JSON), 400, 0)
    refused(client.post(f"{R}/subjects"), 400, 5)


def test_unknown_subjects_are_refused(client: TestClient):
    refused(client.delete(f"{R}/subjects/Nobody"), 404, 42, "Subject Nobody not found")
    refused(client.put(f"{R}/subjects/Nobody", json={"subject": "Ada"}), 404, 42, "Nobody")


# Examples


def test_an_example_is_added_listed_shown_and_removed(client: TestClient, service: FakeService):
    answer = client.post(f"{R}/faces?subject=Ada", files=sent(photo(service, 1)))
    assert answer.status_code == 201
    example = answer.json()
    assert list(example) == ["image_id", "subject"]
    assert example["subject"] == "Ada"
    assert client.get(f"{R}/faces").json() == {
        "faces": [example],
        "page_number": 0,
        "page_size": 20,
        "total_pages": 1,
        "total_elements": 1,
    }
    image = client.get(f"{R}/faces/{example['image_id']}/img")
    assert image.headers["content-type"] == "application/octet-stream"
    assert image.headers["cache-control"] == "no-store"
    assert Pillow.open(io.BytesIO(image.content)).size == (112, 112)
    assert client.delete(f"{R}/faces/{example['image_id']}").json() == example
    refused(client.delete(f"{R}/faces/{example['image_id']}"), 404, 44)
    assert subjects(client) == ["Ada"]


def test_the_same_photo_again_is_the_same_example(client: TestClient, service: FakeService):
    data = photo(service, 1)
    first = client.post(f"{R}/faces?subject=Ada", files=sent(data))
    again = client.post(f"{R}/faces?subject=ada", files=sent(data))
    assert (again.status_code, again.json()) == (201, first.json())
    assert client.get(f"{R}/faces").json()["total_elements"] == 1


def test_an_image_that_is_not_there_is_empty(client: TestClient):
    for image_id in (NO_IMAGE, "nonsense"):
        answer = client.get(f"{R}/faces/{image_id}/img")
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_thousand_examples_are_paged(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1, n=990)
    enroll(service, "Bob", 2, n=10)
    pages = [client.get(f"{R}/faces?page={page}&size=300").json() for page in range(5)]
    assert [len(page["faces"]) for page in pages] == [300, 300, 300, 100, 0]
    ids = [each["image_id"] for page in pages for each in page["faces"]]
    assert ids == sorted(set(ids))
    for number, page in enumerate(pages):
        assert page["page_number"] == number
        assert (page["page_size"], page["total_pages"], page["total_elements"]) == (300, 4, 1000)
    assert len(client.get(f"{R}/faces").json()["faces"]) == 20
    assert client.get(f"{R}/faces?size=100000").json()["page_size"] == 2000
    of_bob = client.get(f"{R}/faces?subject=bob&size=4&page=2").json()
    assert [each["subject"] for each in of_bob["faces"]] == ["Bob"] * 2
    assert of_bob["total_pages"] == 3
    nobody = client.get(f"{R}/faces?subject=Nobody").json()
    assert (nobody["faces"], nobody["total_elements"], nobody["total_pages"]) == ([], 0, 0)
    for wrong in ("page=-1", "size=0", "page=x", f"page={2**31}"):
        refused(client.get(f"{R}/faces?{wrong}"), 400, 26, wrong.partition("=")[0])


def test_examples_are_removed_by_subject(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1, n=3)
    enroll(service, "Bob", 2, n=2)
    assert client.delete(f"{R}/faces?subject=Nobody").json() == {"deleted": 0}
    assert client.delete(f"{R}/faces?subject=ADA").json() == {"deleted": 3}
    assert subjects(client) == ["Bob"]
    assert client.delete(f"{R}/faces").json() == {"deleted": 2}
    assert subjects(client) == []


def test_some_examples_are_removed_and_missing_ones_ignored(
    client: TestClient, service: FakeService
):
    enroll(service, "Ada", 1, n=3)
    held = client.get(f"{R}/faces").json()["faces"]
    wanted = [held[2]["image_id"], NO_IMAGE, "nonsense", held[0]["image_id"], held[0]["image_id"]]
    assert client.post(f"{R}/faces/delete", json=wanted).json() == [held[2], held[0]]
    assert client.get(f"{R}/faces").json()["faces"] == [held[1]]
    refused(client.post(f"{R}/faces/delete", json={"ids": wanted}), 400, 26)


@pytest.mark.parametrize(
    ("query", "code"), [("", 33), ("?subject=", 26), ("?subject=%00", 26), ("?subject=%20", 26)]
)
def test_an_example_needs_a_subject(
    client: TestClient, service: FakeService, query: str, code: int
):
    refused(client.post(f"{R}/faces{query}", files=sent(photo(service, 1))), 400, code)
    assert subjects_of(service) == []


def test_photos_that_cannot_be_enrolled(client: TestClient, service: FakeService):
    path = f"{R}/faces?subject=Ada"
    refused(client.post(path, files=sent(photo(service))), 400, 28, "No face is found")
    refused(client.post(path, files=sent(photo(service, 1, 2))), 400, 31, "More than one face")
    refused(client.post(path, files=sent(photo(service, 1, size=26))), 400, 28, "too small")
    refused(client.post(path, files=sent(photo(service, 1)[:200])), 400, 28, "cut off")
    refused(client.post(path, files=sent(b"nothing", "notes.txt")), 400, 21, "notes.txt")
    icon = io.BytesIO()
    Pillow.fromarray(np.zeros((64, 64, 3), np.uint8)).save(icon, "ICO")
    refused(client.post(path, files=sent(icon.getvalue(), "face.ico")), 400, 21, "face.ico")
    assert subjects_of(service) == []
    enroll(service, "Bob", 1)
    refused(client.post(path, files=sent(photo(service, 1))), 400, 28, "looks like Bob")
    assert subjects_of(service) == ["Bob"]


def test_a_low_threshold_of_the_detector_is_taken(client: TestClient, service: FakeService):
    data = photo(service, 1)  # its faces have a score of 0.9
    path = f"{R}/faces?subject=Ada&det_prob_threshold="
    refused(client.post(f"{path}0.95", files=sent(data)), 400, 28)
    assert client.post(f"{path}0.8", files=sent(data)).status_code == 201


# Photos


@pytest.mark.parametrize(
    "path",
    [
        f"{R}/recognize",
        "/api/v1/detection/detect",
        f"{R}/faces?subject=Ada",
        f"{R}/faces/ID/verify",
    ],
)
def test_every_way_to_send_no_photo(client: TestClient, service: FakeService, path: str):
    enroll(service, "Bob", 1)
    path = path.replace("ID", client.get(f"{R}/faces").json()["faces"][0]["image_id"])
    data = photo(service, 2)
    refused(client.post(path), 400, 0, "Content type")
    refused(client.post(path, data={"file": "x"}), 400, 0, "x-www-form-urlencoded")
    refused(client.post(path, files=sent(data, part="photo")), 400, 34, "part file is missing")
    refused(client.post(path, content=b"{", headers=JSON), 400, 0)
    refused(client.post(path, json=[]), 400, 5, "file")
    refused(client.post(path, json={"file": None}), 400, 5, "file")
    refused(client.post(path, json={"file": "no base64!"}), 400, 21, "Base64")
    refused(client.post(path, json={"file": base64.b64encode(b"x" * 99).decode()}), 400, 28)
    refused(client.post(path, files=sent(b"")), 400, 28, "empty")
    # a part without the name of a file, small and large
    for size in (len(data), 2_000_000):
        boundary = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        body = boundary + data.ljust(size, b"\x00") + b"\r\n--b--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=b"}
        refused(client.post(path, content=body, headers=kind), 400, 21)
    broken = {"content-type": "multipart/form-data"}
    refused(client.post(path, content=b"x", headers=broken), 400, 0)
    assert subjects_of(service) == ["Bob"]


@pytest.mark.parametrize("name", ["blob", "IMG 1.HEIC", "ö.jpg", "a.b.c", "x.txt", ";.png"])
def test_a_photo_is_known_by_its_content(client: TestClient, service: FakeService, name: str):
    assert client.post(f"{R}/recognize", files=sent(photo(service, 1), name)).status_code == 200


def test_base64_is_like_a_file(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    data = photo(service, 1)
    encoded = {"file": base64.b64encode(data).decode()}
    assert (
        client.post(f"{R}/recognize", json=encoded).json()
        == client.post(f"{R}/recognize", files=sent(data)).json()
    )
    assert client.post(f"{R}/faces?subject=Ada", json=encoded).status_code == 201


def test_the_nearest_people_are_listed_however_far_they_are(
    client: TestClient, service: FakeService
):
    data = photo(service, 3, 1)
    empty = client.post(f"{R}/recognize", files=sent(data)).json()
    assert [face["subjects"] for face in empty["result"]] == [[], []]
    enroll(service, "Ada", 1, n=3)
    enroll(service, "Bob", 2)
    result = client.post(f"{R}/recognize?prediction_count=9", files=sent(data)).json()["result"]
    stranger, ada = result
    assert [each["subject"] for each in ada["subjects"]] == ["Ada", "Bob"]
    assert ada["subjects"][0]["similarity"] > 0.9
    assert ada["subjects"][1]["similarity"] < 0.1
    assert len(stranger["subjects"]) == 2
    assert max(each["similarity"] for each in stranger["subjects"]) < 0.5
    one = client.post(f"{R}/recognize", files=sent(data)).json()["result"]
    assert [len(face["subjects"]) for face in one] == [1, 1]


def test_the_largest_faces_come_first(client: TestClient, service: FakeService):
    data = photo(service, 1, 3, 2)
    for limit, sides in ((0, [92, 88, 84]), (1, [92]), (2, [92, 88]), (50, [92, 88, 84])):
        for path in (f"{R}/recognize", "/api/v1/detection/detect"):
            faces = client.post(f"{path}?&limit={limit}", files=sent(data)).json()["result"]
            boxes = [face["box"] for face in faces]
            assert [box["x_max"] - box["x_min"] for box in boxes] == sides
    refused(client.post(f"{R}/recognize?det_prob_threshold=0.91", files=sent(data)), 400, 28)


@pytest.mark.parametrize(
    "wrong",
    [
        "limit=-1",
        "limit=x",
        f"limit={2**31}",
        "prediction_count=0",
        "prediction_count=-1",
        "det_prob_threshold=1.01",
        "det_prob_threshold=-0.1",
        "det_prob_threshold=nan",
        "status=perhaps",
        "detect_faces=2",
    ],
)
def test_numbers_out_of_range_are_refused(client: TestClient, service: FakeService, wrong: str):
    answer = client.post(f"{R}/recognize?{wrong}", files=sent(photo(service, 1)))
    refused(answer, 400, 26, wrong.partition("=")[0])


def test_empty_parameters_are_absent(client: TestClient, service: FakeService):
    query = "?&limit=&prediction_count=&det_prob_threshold=&face_plugins=&status=&detect_faces="
    data = photo(service, 1)
    assert (
        client.post(f"{R}/recognize{query}", files=sent(data)).json()
        == client.post(f"{R}/recognize", files=sent(data)).json()
    )


def test_plugins_that_do_not_exist_are_ignored(client: TestClient, service: FakeService):
    for plugins in ("undefined", "landmarks2d106,mask", ",", "LANDMARKS"):
        path = f"{R}/recognize?face_plugins={plugins}"
        (face,) = client.post(path, files=sent(photo(service, 1))).json()["result"]
        assert list(face) == ["box", "subjects"]
    path = f"{R}/recognize?face_plugins=landmarks, calculator,pose"
    (face,) = client.post(path, files=sent(photo(service, 1))).json()["result"]
    assert set(face) == {"box", "subjects", "landmarks", "embedding", "pose"}


def test_a_crop_is_not_searched(client: TestClient, service: FakeService):
    data = photo(service)  # no face is found in it
    path = f"{R}/recognize?detect_faces=false&face_plugins=landmarks,pose,calculator"
    (face,) = client.post(path, files=sent(data)).json()["result"]
    assert set(face) == {"box", "subjects", "embedding"}
    assert face["box"] == {"probability": 1.0, "x_min": 0, "y_min": 0, "x_max": 640, "y_max": 240}


def test_a_photo_is_compared_with_an_example(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    image_id = client.get(f"{R}/faces").json()["faces"][0]["image_id"]
    data = photo(service, 2, 1)
    result = client.post(f"{R}/faces/{image_id}/verify", files=sent(data)).json()["result"]
    assert [face["subject"] for face in result] == ["Ada", "Ada"]
    assert result[0]["similarity"] < 0.5 < result[1]["similarity"]
    for unknown in (NO_IMAGE, "nonsense"):
        answer = client.post(f"{R}/faces/{unknown}/verify", files=sent(data))
        refused(answer, 404, 44, unknown)


def test_two_photos_are_compared(client: TestClient, service: FakeService):
    path = "/api/v1/verification/verify"

    def ask(source: bytes, target: bytes, query: str = "") -> Any:
        parts = {**sent(source, part="source_image"), **sent(target, part="target_image")}
        return client.post(path + query, files=parts)

    one, several, nobody = photo(service, 1), photo(service, 1, 2), photo(service)
    (answer,) = ask(one, several).json()["result"]
    assert [face["similarity"] > 0.5 for face in answer["face_matches"]] == [False, True]
    (answer,) = ask(one, several, "?limit=1").json()["result"]
    assert len(answer["face_matches"]) == 1
    refused(ask(several, one), 400, 31)
    refused(ask(nobody, one), 400, 28)
    refused(ask(one, nobody), 400, 28)
    refused(client.post(path, files=sent(one, part="source_image")), 400, 34, "target_image")
    encoded = base64.b64encode(one).decode()
    refused(client.post(path, json={"source_image": encoded}), 400, 5, "target_image")
    body = {"source_image": encoded, "target_image": encoded}
    assert client.post(path, json=body).status_code == 200


def test_a_request_that_is_too_large_is_refused(client: TestClient):
    size = {"content-length": str(UPLOAD_BYTES + 1)}
    for path in (f"{R}/recognize", f"{R}/subjects"):
        refused(client.post(path, content=b"", headers={**JSON, **size}), 400, 0, "larger")


# Embeddings


def test_embeddings_are_recognized(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    enroll(service, "Bob", 2)
    probes = [(3 * looks_like(1, 7)).tolist(), looks_like(5).tolist()]
    path = f"{R}/embeddings/recognize"
    answer = client.post(f"{path}?prediction_count=2", json={"embeddings": probes}).json()
    assert [each["embedding"] for each in answer["result"]] == probes
    first, second = (each["similarities"] for each in answer["result"])
    assert [each["subject"] for each in first] == ["Ada", "Bob"]
    assert first[0]["similarity"] > 0.9
    assert second[0]["similarity"] < 0.5


def test_embeddings_are_compared(client: TestClient, service: FakeService):
    enroll(service, "Ada", 1)
    image_id = client.get(f"{R}/faces").json()["faces"][0]["image_id"]
    probes = [looks_like(1, 7).tolist(), looks_like(2).tolist()]
    by_example = client.post(
        f"{R}/embeddings/faces/{image_id}/verify", json={"embeddings": probes}
    ).json()
    by_source = client.post(
        "/api/v1/verification/embeddings/verify",
        json={"source": looks_like(1, 0).tolist(), "targets": probes},
    ).json()
    assert by_example == by_source
    alike, other = by_example["result"]
    assert alike["embedding"] == probes[0]
    assert other["similarity"] < 0.5 < alike["similarity"]
    answer = client.post(f"{R}/embeddings/faces/{NO_IMAGE}/verify", json={"embeddings": probes})
    refused(answer, 404, 44)


@pytest.mark.parametrize(
    ("embeddings", "code"),
    [
        ([[1.0] * (EMBEDDING_SIZE + 1)], 0),
        ([[0.0] * EMBEDDING_SIZE], 0),
        ([[1e308] * EMBEDDING_SIZE], 0),
        ([], 26),
        ([[]], 26),
        ([["x"] * EMBEDDING_SIZE], 26),
        ("x", 26),
        (None, 5),
    ],
)
def test_embeddings_that_cannot_be(client: TestClient, embeddings: object, code: int):
    answer = client.post(f"{R}/embeddings/recognize", json={"embeddings": embeddings})
    refused(answer, 400, code)


def test_embeddings_with_infinite_numbers_are_refused(client: TestClient):
    content = '{"embeddings": [[NaN%s]]}' % (", 1" * (EMBEDDING_SIZE - 1))
    answer = client.post(f"{R}/embeddings/recognize", content=content, headers=JSON)
    assert answer.status_code == 400
