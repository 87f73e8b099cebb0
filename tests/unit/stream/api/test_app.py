"""The page, and the contract of the HTTP API."""

import json

import pytest

from tests.unit.stream.api.asking import assert_error


def test_page_and_its_modules_come_from_here_alone(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "<title>facewire</title>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-cache"
    assert " style=" not in page.text
    assert "<script>" not in page.text
    for part in ("app.js", "style.css", "icon.svg", "glyphs.svg", "connection/link.js"):
        assert client.get(f"/{part}").status_code == 200
    assert_error(client.get("/nothing.js"), 404)


def test_openapi_is_served_without_foreign_pages(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert "/api/cameras/{camera}/whep" in paths
    assert client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/api/cameras", "/api/cameras/door/snapshot.jpg", "/healthz", "/metrics", "/", "/app.js"],
)
def test_head_answers_as_get_without_the_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/cameras", "GET, HEAD, POST"),
        ("POST", "/api/cameras/door", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/api/cameras/door/whep", "POST"),
        ("HEAD", "/api/whip", "POST"),
        ("OPTIONS", "/api/identities/from-camera", "POST"),
        ("OPTIONS", "/api/identities", "GET, HEAD, POST"),
        ("DELETE", "/api/identities/x/photos/1.jpg", "GET, HEAD"),
        ("PATCH", "/api/session", "DELETE, GET, HEAD, POST"),
        ("TRACE", "/api/events", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_what_is_not_done_says_what_is(client, method, path, allow):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allow
    if method != "HEAD":
        assert_error(answer, 405)


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/cameras/", "/nothing"])
def test_what_is_not_there_is_said_so(client, path):
    assert_error(client.get(path), 404)
    assert client.head(path).status_code == 404


def test_every_refusal_is_documented_as_it_is_sent(client):
    document = client.get("/openapi.json").json()
    assert document == client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{"bearer": []}, {}]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            for each in ("400", "401", "403", "413", "421", "422", "429", "503"):
                schema = answers[each]["content"]["application/json"]["schema"]
                assert "ErrorJson" in json.dumps(schema), f"{method} {path} {each}"
            assert ("404" in answers) >= ("{" in path), f"{method} {path}"
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("get", "/api/cameras/{camera}/snapshot.jpg", "200", "image/jpeg"),
        ("get", "/api/events/{event_id}/crop.jpg", "200", "image/jpeg"),
        ("get", "/metrics", "200", "text/plain"),
        ("post", "/api/cameras/{camera}/whep", "201", "application/sdp"),
        ("post", "/api/whip", "201", "application/sdp"),
        ("get", "/api/cameras", "200", "application/json"),
    ],
)
def test_the_kind_of_each_answer_is_documented(client, method, path, status, kind):
    operation = client.get("/openapi.json").json()["paths"][path][method]
    assert list(operation["responses"][status]["content"]) == [kind]
    if kind == "application/sdp":
        assert list(operation["requestBody"]["content"]) == [kind]
