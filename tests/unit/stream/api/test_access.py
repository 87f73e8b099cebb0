"""Who may ask for what: hosts, origins, tokens, roles, places."""

import json

import pytest
from starlette.testclient import TestClient

from gallery.errors import GalleryUnreachableError
from stream.api.app import create_app
from stream.api.proxies import TrustedProxies
from stream.api.security import BODY_BYTES, UPLOAD_BYTES, Attempts, Keys
from stream.frames import Event, EventKind
from tests.fake_service import status
from tests.unit.stream.api.asking import HERE, SDP, TOKEN, assert_error, enrol, photo


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080"])
def test_foreign_host_is_refused(client, host):
    answer = client.get("/api/cameras", headers={"host": host})
    assert_error(answer, 421, "name")
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_foreign_origin_is_refused(client, service, origin):
    headers = {"origin": origin}
    assert_error(client.get("/api/cameras", headers=headers), 403, "other sites")
    assert_error(client.delete("/api/cameras/door", headers=headers), 403)
    assert "door" in service.cameras.by_name


def test_own_origin_passes(client):
    assert client.get("/api/cameras", headers={"origin": HERE}).status_code == 200


def test_allowed_host_passes(service):
    app = create_app(service, allowed_hosts=["cams.example"])
    with TestClient(app, base_url="https://cams.example") as client:
        headers = {"origin": "https://cams.example"}
        assert client.get("/api/cameras", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/api/cameras", "/api/events", "/metrics", "/openapi.json"])
def test_token_is_needed_for_all_that_tells(guarded, path):
    assert_error(guarded.get(path), 401, "token")
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_without_token_health_gives_no_reasons(guarded, service):
    service.complaints = ["camera door is failing: cannot open rtsp://192.0.2.7/live"]
    assert guarded.get("/healthz").json()["problems"] == []
    trusted = guarded.get("/healthz", headers={"authorization": f"Bearer {TOKEN}"})
    assert trusted.json()["problems"] == service.complaints


def test_signing_in_sets_a_cookie_that_opens(guarded):
    assert_error(guarded.post("/api/session", json={"token": "wrong"}), 403)
    answer = guarded.post("/api/session", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in answer.headers["set-cookie"]
    assert Keys(TOKEN).cookie in guarded.cookies
    assert guarded.get("/api/cameras").status_code == 200


def test_signing_out_forgets_the_browser(guarded):
    guarded.post("/api/session", json={"token": TOKEN})
    assert guarded.delete("/api/session").status_code == 204
    assert_error(guarded.get("/api/cameras"), 401)
    assert guarded.delete("/api/session").status_code == 204


def test_guessing_the_token_is_refused_after_some_and_locks_nobody_out(guarded):
    for _ in range(Attempts.MAX_FAILURES):
        assert_error(guarded.post("/api/session", json={"token": "wrong"}), 403)
    refused = guarded.post("/api/session", json={"token": "wrong"})
    assert_error(refused, 429, "wait")
    assert refused.headers["retry-after"] == "60"
    assert guarded.post("/api/session", json={"token": TOKEN}).status_code == 204


def test_guessing_by_bearer_is_refused_too_and_locks_nobody_out(guarded):
    wrong = {"authorization": "Bearer wrong"}
    for _ in range(Attempts.MAX_FAILURES):
        assert_error(guarded.get("/api/cameras", headers=wrong), 401)
    assert_error(guarded.get("/api/cameras", headers=wrong), 429, "wait")
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/cameras", headers=right).status_code == 200
    assert guarded.get("/healthz", headers=wrong).status_code == 200


def test_a_client_does_not_choose_its_address(guarded):
    for number in range(Attempts.MAX_FAILURES + 1):
        headers = {"authorization": "Bearer wrong", "x-forwarded-for": f"192.0.2.{number}"}
        answer = guarded.get("/api/cameras", headers=headers)
    assert_error(answer, 429)


def test_a_trusted_proxy_tells_addresses_apart(service):
    app = create_app(service, token=TOKEN, proxies=TrustedProxies(["10.0.0.0/8"]))
    wrong = {"authorization": "Bearer wrong"}
    with TestClient(app, base_url=HERE, client=("10.0.0.1", 1)) as client:

        def ask(forwarded):
            return client.get("/api/cameras", headers={**wrong, "x-forwarded-for": forwarded})

        # What the browser itself sent stands before what the proxy added.
        for number in range(Attempts.MAX_FAILURES):
            assert_error(ask(f"198.51.100.{number}, 192.0.2.7"), 401)
        assert_error(ask("192.0.2.7"), 429)
        assert_error(ask("192.0.2.8"), 401)


def test_a_viewer_watches_and_reads(viewer, service):
    assert viewer.get("/api/session").json()["role"] == "viewer"
    for path in ("/api/cameras", "/api/events", "/api/identities", "/metrics", "/"):
        assert viewer.get(path).status_code == 200
    answer = viewer.post("/api/cameras/door/whep", content="v=0 offer", headers=SDP)
    assert answer.status_code == 201
    assert viewer.delete(answer.headers["location"]).status_code == 200
    service.complaints = ["camera door is failing"]
    assert viewer.get("/healthz").json()["problems"] == service.complaints


def test_a_viewer_changes_nothing(viewer, service):
    ada = enrol(service, "Ada", 1)
    answers = [
        viewer.post("/api/cameras", json={"name": "yard", "url": "yard.mp4"}),
        viewer.patch("/api/cameras/door", json={"enabled": False}),
        viewer.delete("/api/cameras/door"),
        viewer.post("/api/cameras/door/tracks/run-5/name", json={"name": "Ada"}),
        viewer.post("/api/whip", content="v=0 offer", headers=SDP),
        viewer.delete(f"/api/identities/{ada.identity_id}"),
        viewer.patch(f"/api/identities/{ada.identity_id}", json={"name": "Eve"}),
    ]
    for answer in answers:
        assert_error(answer, 403, "viewers may only watch")
    assert list(service.cameras.by_name) == ["door"]
    assert [each.identity.name for each in service.gallery.people.summaries()] == ["Ada"]


def test_a_viewer_brings_no_camera_over_the_socket(viewer, service):
    with viewer.websocket_connect("ws://127.0.0.1:8080/api/ws") as socket:
        socket.send_json({"type": "offer", "id": "1", "publish": "phone", "sdp": "v=0"})
        while (message := socket.receive_json())["type"] != "error":
            pass
    assert "viewers may only watch" in message["message"]
    assert list(service.cameras.by_name) == ["door"]


def test_the_role_is_told(guarded, client, service):
    zone = service.visit_rules.zone_name
    assert client.get("/api/session").json() == {"role": "admin", "time_zone": zone}
    assert guarded.get("/api/session").json() == {"role": None, "time_zone": ""}
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/session", headers=right).json()["role"] == "admin"


def test_signing_in_without_need_is_harmless(client):
    assert client.post("/api/session", json={"token": "any"}).status_code == 204


def test_large_bodies_are_refused(client):
    body = b"x" * (BODY_BYTES + 1)
    assert_error(client.post("/api/whip", content=body, headers=SDP), 413, "larger")
    chunks = (b"x" * 65536 for _ in range(5))  # without an announced length
    assert_error(client.post("/api/whip", content=chunks, headers=SDP), 413, "larger")


def test_large_uploads_are_refused(client):
    files = {"photo": ("big.png", b"\0" * (UPLOAD_BYTES + 1))}
    assert_error(client.post("/api/identify", files=files), 413, "larger")


@pytest.mark.parametrize("origin", ["http://[", "http://a:b", "\\", "http://127.0.0.1:99999999"])
def test_an_origin_that_is_none_is_refused(client, origin):
    assert_error(client.get("/healthz", headers={"origin": origin}), 403)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"token": "\xff"}',
        b'{"token": 1e400}',
        b'{"token": NaN}',
        b'{"token": ' + b"9" * 5000 + b"}",
        b'"token"',
        b"null",
    ],
)
@pytest.mark.parametrize("path", ["/api/session", "/api/cameras"])
def test_json_that_is_none_is_refused(guarded, body, path):
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    answer = guarded.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]


def test_half_a_character_is_refused_wherever_text_is_taken(client, service):
    half = '"/x\\ud800"'
    for method, path, body in (
        ("POST", "/api/cameras", f'{{"name": "yard", "url": {half}}}'),
        ("PATCH", "/api/cameras/door", f'{{"url": {half}}}'),
        ("POST", "/api/session", f'{{"token": {half}}}'),
        ("POST", "/api/identities/from-camera", f'{{"camera": {half}, "name": "Ada"}}'),
        ("POST", "/api/identities/from-camera", f'{{"camera": "door", "name": {half}}}'),
        ("PATCH", "/api/identities/x", f'{{"merge_into": {half}}}'),
    ):
        headers = {"content-type": "application/json"}
        answer = client.request(method, path, content=body, headers=headers)
        assert answer.status_code in (400, 422), path
        assert list(answer.json()) == ["error"]
    assert client.get("/api/cameras").status_code == 200
    assert list(service.cameras.by_name) == ["door"]


def test_viewers_see_no_address_of_a_camera(viewer, service):
    service.cameras.put(status("yard", url="rtsp://u:secret@192.0.2.8/live"))
    for camera in (*viewer.get("/api/cameras").json(), viewer.get("/api/cameras/yard").json()):
        assert (camera["url"], camera["settings"]["url"]) == ("", "")
    with viewer.websocket_connect("ws://127.0.0.1:8080/api/ws") as socket:
        while (message := socket.receive_json())["type"] != "cameras":
            pass
    assert "192.0.2" not in json.dumps(message)


def test_addresses_in_old_events_are_masked(client, service):
    event = Event(
        EventKind.CAMERA_DOWN,
        "door",
        5.0,
        None,
        None,
        4.0,
        None,
        detail="cannot open rtsp://h/user=admin_password=secret_x: timed out",
    )
    service.event_log.append(event, 1_700_000_000.0)
    assert "secret" not in client.get("/api/events").text


def test_uploads_have_places(service):
    app = create_app(service, max_uploads=2)
    with TestClient(app, base_url=HERE) as client:
        files = {"photo": ("a.png", photo(service))}
        for _ in range(5):  # each gives its place back
            assert client.post("/api/identify", files=files).status_code == 200


def test_pages_have_places(service):
    app = create_app(service, max_pages=2)
    with (
        TestClient(app, base_url=HERE) as client,
        client.websocket_connect("ws://127.0.0.1:8080/api/ws") as first,
        client.websocket_connect("ws://127.0.0.1:8080/api/ws") as second,
    ):
        assert first.receive_json()["type"] == "cameras"
        closed = second.receive()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
        assert "too many pages" in closed["reason"]


def test_a_database_that_is_away_is_503_and_says_so(client, service, monkeypatch):
    def away(**_):
        raise GalleryUnreachableError("cannot reach the gallery's database")

    monkeypatch.setattr(service.gallery.store, "reading", away)
    answer = client.get("/api/identities/nobody")
    assert answer.status_code == 503
    assert answer.json()["error"] == "cannot reach the gallery's database"
