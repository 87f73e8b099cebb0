"""The real service: places for everybody, the cookies of two services, and no secret out."""

import asyncio
import json
import re
from contextlib import suppress
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener, urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.harness import RunningService, service
from tests.viewers import Viewer

pytestmark = pytest.mark.integration

ADMIN, VIEWER = "the administrator's token", "the viewer's own token"
SECRET = "S3cr!tWord"


def ask(
    running: RunningService,
    path: str,
    *,
    token: str = "",
    body: bytes | None = None,
    kind: str = "application/json",
    opener: OpenerDirector | None = None,
) -> tuple[int, str]:
    """Return status and text of an answer."""
    headers = {"content-type": kind} if body is not None else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = Request(f"{running.url}{path}", body, headers)
    try:
        with (opener.open if opener else urlopen)(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_viewer_who_never_connects_leaves_places_to_the_administrator(tmp_path: Path) -> None:
    async def an_offer() -> str:
        viewer = Viewer()
        try:
            return await viewer.offer()
        finally:
            await viewer.close()

    offer = asyncio.run(an_offer()).encode()
    config = tmp_path / "facewire.toml"
    config.write_text("[server]\nmax_viewers = 20\n")
    with service(
        "door", tmp_path / "data", f"--config={config}", token=ADMIN, viewer_token=VIEWER
    ) as running:

        def watch(token: str) -> tuple[int, str]:
            path = "api/cameras/demo/whep"
            return ask(running, path, token=token, body=offer, kind="application/sdp")

        for _ in range(100):
            status, text = watch(VIEWER)
            if status != 201:
                break
        assert status == 503
        assert "too many viewers" in json.loads(text)["error"]
        assert watch(ADMIN)[0] == 201


def test_two_services_of_one_host_sign_nobody_out(tmp_path: Path) -> None:
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    with (
        service("door-one", tmp_path / "one", token=ADMIN) as one,
        service("door-two", tmp_path / "two", token=VIEWER) as two,
    ):
        for running, token in ((one, ADMIN), (two, VIEWER)):
            body = json.dumps({"token": token}).encode()
            assert ask(running, "api/session", body=body, opener=browser)[0] == 204
        for running in (one, two):
            assert ask(running, "api/cameras", opener=browser)[0] == 200


URLS = [
    f"http://127.0.0.1:9/videostream.cgi?loginuse=admin&loginpas={SECRET}",
    f"rtsp://127.0.0.1:9/user=admin_password={SECRET}_channel=1",
    f"http://127.0.0.1:9/v?user=a&pw={SECRET}",
    f"rtsp://admin:my {SECRET}@127.0.0.1:9/live",
    f"http://127.0.0.1:9/v?pass%77ord={SECRET}",
    f"rtsps://127.0.0.1:9/{SECRET}",
    f"rtsp://{SECRET}@127.0.0.1:9/",
    f"rtsp://admin:a/{SECRET}@127.0.0.1:9/live",
    f"rtsp://admin:a#{SECRET}@127.0.0.1:9/live",
    f"rtsp://admin:a@{SECRET}@127.0.0.1:9/live",
    f"admin:{SECRET}@127.0.0.1/live",
]


def test_no_secret_of_a_camera_leaves_the_service(tmp_path: Path) -> None:
    with service("secrets", tmp_path, token=ADMIN, viewer_token=VIEWER) as running:
        said = []
        for number, url in enumerate(URLS):
            body = json.dumps({"name": f"c{number}", "url": url}).encode()
            status, text = ask(running, "api/cameras", token=ADMIN, body=body)
            assert status in (201, 400), text
            said.append(text)
        for line in ("a\nb", "a\u2028b", "x" * 40_000):
            body = json.dumps({"name": "long", "url": f"rtsp://{SECRET}/{line}"}).encode()
            status, text = ask(running, "api/cameras", token=ADMIN, body=body)
            assert status == 422
            said.append(text)

        def cameras(token: str) -> list[dict[str, Any]]:
            text = ask(running, "api/cameras", token=token)[1]
            said.append(text)
            found: list[dict[str, Any]] = json.loads(text)
            return found

        def all_have_failed() -> bool:
            states = {each["state"] for each in cameras(ADMIN) if each["name"] != "demo"}
            return states == {"failing"}

        for _ in range(600):
            if all_have_failed():
                break
        assert all_have_failed()
        for each in cameras(VIEWER):
            assert (each["url"], each["settings"]["url"]) == ("", "")
            assert "://" not in each["reason"]
        for path in ("api/events?limit=1000", "healthz", "metrics"):
            said.append(ask(running, path, token=ADMIN)[1])
        text = "\n".join(said) + running.log.read_text()
    assert SECRET not in text
    assert re.search(r"camera c0: .*the camera at 127\.0\.0\.1", text)


def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=300))
        if message["type"] == kind:
            return message


def test_a_socket_survives_what_no_page_sends_or_ends_without_a_traceback(tmp_path: Path) -> None:
    with service("socket", tmp_path) as running:
        address = f"{running.url.replace('http', 'ws')}api/ws"
        with connect(address) as socket:
            for message in (b"\x00\xff", "", "{", "[" * 100_000, '{"type": "\\ud800"}'):
                socket.send(message)
                assert hear(socket, "error")["message"]
        with connect(address) as socket:
            socket.send(b"\xff\xfe", text=True)
            assert until_closed(socket) == 1007
        for large in ("x" * 5_000_000, (b"" for _ in range(3000))):
            with connect(address) as socket:
                # It may be cut off while it is still being sent.
                with suppress(ConnectionClosed):
                    socket.send(large)
                assert until_closed(socket) in (1009, 0)
        assert ask(running, "healthz")[0] == 200


def until_closed(socket: ClientConnection) -> int:
    """Return the code with which the other side closed."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=300)
    return socket.protocol.close_rcvd.code if socket.protocol.close_rcvd else 0
