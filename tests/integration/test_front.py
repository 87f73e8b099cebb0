"""Services on one database: each one's API has the cameras of all, whatever fails."""

import asyncio
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from websockets.sync.client import connect

from stream.front.signed_calls import HEADER, Caller, sign
from tests.e2e.harness import PATIENCE_S, RunningService
from tests.machines import Machines
from tests.postgres_server import Server, postgres_server

pytestmark = pytest.mark.integration

ADMIN, VIEWER, OTHER = "the admin of machine b", "a viewer of machine b", "the admin of machine a"


class Answer:
    """What a service answered."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    running: RunningService,
    path: str,
    method: str = "GET",
    body: object = None,
    *,
    token: str = ADMIN,
    headers: dict[str, str] | None = None,
) -> Answer:
    sent = {} if token == "" else {"authorization": f"Bearer {token}"}
    data = None
    if body is not None:
        is_sdp = isinstance(body, str)
        sent["content-type"] = "application/sdp" if is_sdp else "application/json"
        data = str(body).encode() if is_sdp else json.dumps(body).encode()
    request = Request(running.url + path, data, {**sent, **(headers or {})}, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return Answer(answer.status, dict(answer.headers.items()), answer.read())
    except HTTPError as error:
        return Answer(error.code, dict(error.headers.items()), error.read())


def cameras(running: RunningService, token: str = ADMIN) -> dict[str, Any]:
    return {each["name"]: each for each in ask(running, "api/cameras", token=token).json}


def is_enrolled(running: RunningService, name: str, token: str) -> bool:
    found = ask(running, "api/identities", token=token).json
    return name in {each["name"] for each in found}


def is_state(running: RunningService, camera: str, state: str) -> bool:
    return bool(cameras(running).get(camera, {}).get("state") == state)


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what()
        pause.wait(0.1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Machines]:
    found = Machines(tmp_path_factory.mktemp("front"), server.new_database())
    yield found
    found.close()


@pytest.fixture(scope="module")
def pair(machines: Machines) -> Iterator[tuple[RunningService, RunningService]]:
    with (
        machines.start("a", "--camera=door=demo:", token=OTHER) as a,
        machines.start(
            "b", "--camera=yard=rtsp://127.0.0.1:9/none", token=ADMIN, viewer_token=VIEWER
        ) as b,
    ):
        until(lambda: "door" in cameras(b), lambda: cameras(b))
        yield a, b


Pair = tuple[RunningService, RunningService]


def test_each_machine_lists_the_cameras_of_all(pair: Pair) -> None:
    a, b = pair
    until(lambda: cameras(b)["door"]["state"] == "live", lambda: cameras(b))
    until(lambda: "yard" in cameras(a, OTHER), lambda: cameras(a, OTHER))
    seen = cameras(b)
    assert [seen[name]["machine"] for name in ("yard", "door")] == ["b", "a"]
    assert seen["door"]["url"] == "demo:"
    assert cameras(b, VIEWER)["door"]["url"] == ""
    assert cameras(b, VIEWER)["door"]["settings"]["url"] == ""
    assert ask(b, "api/cameras/door").json["machine"] == "a"
    found = ask(b, "api/cluster/machines", token=VIEWER).json
    assert [(each["name"], each["is_this"], each["state"]) for each in found] == [
        ("b", True, "ok"),
        ("a", False, "ok"),
    ]
    assert ask(b, "healthz").json["machines"][1]["cameras"] == 1
    assert ask(b, "healthz", token="").json["machines"] == []
    targets = ask(b, "api/cluster/targets", token=VIEWER).json
    assert [each["labels"]["machine"] for each in targets] == ["b", "a"]
    for each, running in zip(targets, (b, a), strict=True):
        assert [f"http://{target}/" for target in each["targets"]] == [running.url]
    assert b'facewire_machine_up{machine="a"} 1.0' in ask(b, "metrics").body


def test_a_camera_is_watched_through_another_machine(pair: Pair) -> None:
    a, b = pair

    async def scenario() -> None:
        peer = RTCPeerConnection()
        video = peer.addTransceiver("video", "recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await asyncio.to_thread(
            ask, b, "api/cameras/door/whep", "POST", peer.localDescription.sdp, token=VIEWER
        )
        assert answer.status == 201, answer.body
        assert answer.headers["facewire-via"] == "facewire"
        await peer.setRemoteDescription(RTCSessionDescription(answer.body.decode(), "answer"))
        frame = await asyncio.wait_for(video.receiver.track.recv(), PATIENCE_S)
        assert (frame.width, frame.height) == (1280, 720)
        assert (await asyncio.to_thread(cameras, a, OTHER))["door"]["viewers"] == 1
        assert b"facewire_peers 0.0" in (await asyncio.to_thread(ask, b, "metrics")).body
        ended = await asyncio.to_thread(
            ask, b, answer.headers["location"][1:], "DELETE", token=VIEWER
        )
        assert ended.status == 200
        await asyncio.to_thread(
            until, lambda: cameras(a, OTHER)["door"]["viewers"] == 0, lambda: cameras(a, OTHER)
        )
        await peer.close()

    asyncio.run(scenario())


def test_a_page_of_one_machine_gets_the_video_and_faces_of_another(pair: Pair) -> None:
    a, b = pair

    async def offer() -> tuple[RTCPeerConnection, Any]:
        peer = RTCPeerConnection()
        video = peer.addTransceiver("video", "recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        return peer, video

    async def scenario() -> None:
        peer, video = await offer()
        headers = {"authorization": f"Bearer {VIEWER}"}
        url = f"ws{b.url.removeprefix('http')}api/ws"
        with connect(url, additional_headers=headers) as socket:

            def receive(*kinds: str) -> Any:
                while True:
                    message = json.loads(socket.recv(PATIENCE_S))
                    if message["type"] in kinds:
                        return message

            assert "door" in {each["name"] for each in receive("cameras")["cameras"]}
            sdp = peer.localDescription.sdp
            socket.send(json.dumps({"type": "offer", "id": "1", "camera": "door", "sdp": sdp}))
            answer = await asyncio.to_thread(receive, "answer", "error", "closed")
            assert answer["type"] == "answer", answer
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            frame = await asyncio.wait_for(video.receiver.track.recv(), PATIENCE_S)
            assert (frame.width, frame.height) == (1280, 720)
            socket.send(json.dumps({"type": "follow", "camera": "door"}))
            while not (await asyncio.to_thread(receive, "tracks"))["tracks"]:
                pass
            socket.send(json.dumps({"type": "offer", "id": "1", "camera": "door", "sdp": sdp}))
            again = await asyncio.to_thread(receive, "error")
            assert again["message"] == "an offer's id is used once"
        # Connections that a socket started end with it, on the other machine, too.
        await asyncio.to_thread(
            until, lambda: cameras(a, OTHER)["door"]["viewers"] == 0, lambda: cameras(a, OTHER)
        )
        await peer.close()

    asyncio.run(scenario())


def test_snapshots_faces_and_names_go_through_another_machine(pair: Pair) -> None:
    a, b = pair
    small = ask(b, "api/cameras/door/snapshot.jpg?width=64", token=VIEWER)
    assert small.headers["content-type"] == "image/jpeg"
    assert 0 < len(small.body) < len(ask(b, "api/cameras/door/snapshot.jpg").body)
    assert small.headers["x-content-type-options"] == "nosniff"
    url = f"{b.url}api/cameras/door/stream.mjpg?width=64"
    sent = Request(url, headers={"authorization": f"Bearer {VIEWER}"})
    with urlopen(sent, timeout=60) as endless:
        assert endless.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        while not endless.readline().startswith(b"--frame"):
            pass
        while endless.readline().strip():
            pass
        assert endless.read(2) == b"\xff\xd8"
    assert ask(b, "api/cameras/door/stream.mjpg", "HEAD").status == 200
    named: list[Answer] = []

    def names_somebody() -> bool:
        for track in ask(b, "api/cameras/door/tracks").json["tracks"]:
            path = f"api/cameras/door/tracks/{track['track_id']}/name"
            named.append(ask(b, path, "POST", {"name": "Ada", "force": True}))
            if named[-1].status == 200:
                return True
        return False

    until(names_somebody, lambda: [each.body for each in named])
    assert named[-1].json["name"] == "Ada"
    until(lambda: is_enrolled(a, "Ada", OTHER), lambda: "it is not on the one")
    until(lambda: is_enrolled(b, "Ada", ADMIN), lambda: "it is not on the other")
    wrong = ask(b, "api/identities/from-camera", "POST", {"name": "Bea", "camera": "door"})
    assert wrong.status in (201, 409, 422)
    assert "no camera" not in wrong.body.decode()


def test_settings_of_another_machines_camera_are_changed_by_administrators_alone(
    pair: Pair,
) -> None:
    a, b = pair
    refused = ask(b, "api/cameras/door", "PATCH", {"min_face_px": 40}, token=VIEWER)
    assert refused.status == 403
    assert ask(b, "api/cameras/door", "DELETE", token=VIEWER).status == 403
    assert ask(b, "api/cameras/door/snapshot.jpg", token="").status == 401
    changed = ask(b, "api/cameras/door", "PATCH", {"min_face_px": 40})
    assert (changed.status, changed.json["settings"]["min_face_px"]) == (200, 40)
    assert cameras(a, OTHER)["door"]["settings"]["min_face_px"] == 40
    taken = ask(b, "api/cameras", "POST", {"name": "door", "url": "demo:"})
    assert taken.status == 409
    assert ask(b, "api/cameras/yard", "PATCH", {"name": "door"}).status == 409
    assert ask(b, "api/cameras/none/snapshot.jpg").status == 404
    large = ask(b, "api/cameras/door/whep", "POST", "v" * 300_000)
    assert (large.status, large.json["error"]) == (413, "the request is larger than 256 KiB")
    for way_out in ("api/cameras/door/%2e%2e/yard", "api/cameras/door/../../identities"):
        assert ask(b, way_out).status == 404


def test_who_is_in_view_of_all_cameras_is_answered_by_each_machine(pair: Pair) -> None:
    _, b = pair

    def found() -> list[str]:
        answer = ask(b, "api/presence", token=VIEWER).json
        assert {each["camera"] for each in answer["cameras"]} == {"yard", "door"}
        return [f"{each['camera']} {each['count']}" for each in answer["cameras"] if each["count"]]

    until(lambda: found() != [], found)
    assert found()[0].startswith("door ")


def test_a_call_is_proven_by_the_databases_secret(pair: Pair, machines: Machines) -> None:
    a, _ = pair
    path = "/api/cameras/door"
    proven = {"method": "DELETE", "path": path, "query": b"", "at": time.time()}
    forged = [
        "anything",
        sign("another secret", Caller("admin", "10.0.0.9"), 1, **proven),  # type: ignore[arg-type]
        sign("", Caller("admin", "10.0.0.9"), 1, **proven),  # type: ignore[arg-type]
    ]
    for value in forged:
        refused = ask(a, path[1:], "DELETE", token="", headers={HEADER: value})
        assert refused.status == 401
        assert refused.json["error"] == "this call is not by a machine of the same database"
        # Not even with a token.
        assert ask(a, path[1:], "DELETE", token=OTHER, headers={HEADER: value}).status == 401
    assert "door" in cameras(a, OTHER)
    logs = "".join(each.log.read_text() for each in pair)
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", logs)


def test_a_killed_machine_is_away_and_comes_back(pair: Pair, machines: Machines) -> None:
    _, b = pair
    with machines.start("c", "--camera=gate=demo:") as c:
        until(lambda: is_state(b, "gate", "live"), lambda: cameras(b))
        found = ask(b, "api/cluster/machines").json
        assert {each["name"] for each in found} == {"a", "b", "c"}
        os.kill(c.process.pid, signal.SIGKILL)
        c.process.wait()
        lost = ask(b, "api/cameras/gate/snapshot.jpg")
        assert lost.status == 503
        assert "machine c, which runs this camera, " in lost.json["error"]
        assert lost.headers["retry-after"] == "5"
        until(lambda: is_state(b, "gate", "failing"), lambda: cameras(b))
        assert cameras(b)["gate"]["reason"] == "machine c, which runs it, does not answer"
        health = ask(b, "healthz").json
        assert any(
            re.fullmatch(r"machine c has not answered for \d+ s: no video of gate", each)
            for each in health["problems"]
        ), health
        assert [each["state"] for each in health["machines"] if each["name"] == "c"] == ["away"]
    with machines.start("c", "--camera=gate=demo:"):
        until(lambda: is_state(b, "gate", "live"), lambda: cameras(b))
        back = ask(b, "api/cameras/gate/snapshot.jpg")
        assert back.status == 200, back.body
    # Stopped on purpose, it is not missed.
    until(lambda: "gate" not in cameras(b), lambda: cameras(b))
    assert {each["name"] for each in ask(b, "api/cluster/machines").json} == {"a", "b"}
