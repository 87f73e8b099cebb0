"""Third-party players and encoders against the real service: WHEP out, WHIP in."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack

from tests.e2e.harness import RunningService, service

pytestmark = pytest.mark.integration

Fetched = tuple[int, dict[str, str], str]


async def fetch(url: str, method: str = "GET", body: str | None = None) -> Fetched:
    """Return status, headers and text of an answer."""

    def ask() -> Fetched:
        headers = {"content-type": "application/sdp"} if body is not None else {}
        data = body.encode() if body is not None else None
        try:
            with urlopen(Request(url, data, headers, method=method), timeout=300) as answer:
                return answer.status, dict(answer.headers.items()), answer.read().decode()
        except HTTPError as error:
            return error.code, dict(error.headers.items()), error.read().decode()

    return await asyncio.to_thread(ask)


async def camera(facewire: RunningService, name: str) -> dict[str, object]:
    """Return a camera's JSON from the API; empty if there is none."""
    _, _, text = await fetch(f"{facewire.url}api/cameras")
    return next((each for each in json.loads(text) if each["name"] == name), {})


async def until(condition: Callable[[], Awaitable[bool]], *, timeout_s: float = 300.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.1)


async def connect(peer: RTCPeerConnection, url: str) -> str:
    """Offer without trickle, take the answer, and return its Location."""
    await peer.setLocalDescription(await peer.createOffer())
    status, headers, sdp = await fetch(url, "POST", peer.localDescription.sdp)
    assert status == 201, sdp
    assert headers["content-type"].startswith("application/sdp")
    await peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    return headers["location"]


@pytest.fixture(scope="module")
def facewire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    data: Path = tmp_path_factory.mktemp("whep")
    with service("whep", data) as running:
        yield running


def test_a_player_watches_and_leaves_twice(facewire: RunningService) -> None:
    async def scenario() -> None:
        peer = RTCPeerConnection()
        video = peer.addTransceiver("video", "recvonly")
        location = await connect(peer, f"{facewire.url}api/cameras/demo/whep")
        frame = await asyncio.wait_for(video.receiver.track.recv(), 10)
        assert (frame.width, frame.height) == (1280, 720)
        assert (await camera(facewire, "demo"))["viewers"] == 1

        resource = facewire.url.rstrip("/") + location
        assert (await fetch(resource, "PATCH", "a=candidate"))[0] == 405
        assert (await fetch(resource, "DELETE"))[0] == 200
        assert (await fetch(resource, "DELETE"))[0] == 200

        async def is_alone() -> bool:
            return (await camera(facewire, "demo"))["viewers"] == 0

        await until(is_alone)
        await peer.close()

    asyncio.run(scenario())


def test_a_player_may_ask_for_the_small_rendition(facewire: RunningService) -> None:
    async def scenario() -> None:
        peer = RTCPeerConnection()
        video = peer.addTransceiver("video", "recvonly")
        location = await connect(peer, f"{facewire.url}api/cameras/demo/whep?small=1")
        frame = await asyncio.wait_for(video.receiver.track.recv(), 10)
        assert (frame.width, frame.height) == (640, 360)
        await fetch(facewire.url.rstrip("/") + location, "DELETE")
        await peer.close()

    asyncio.run(scenario())


def test_an_encoder_brings_its_camera_and_takes_it_away(facewire: RunningService) -> None:
    async def scenario() -> None:
        peer = RTCPeerConnection()
        peer.addTransceiver(VideoStreamTrack(), "sendonly")
        location = await connect(peer, f"{facewire.url}api/whip?name=encoder")

        async def is_live() -> bool:
            return (await camera(facewire, "encoder")).get("state") == "live"

        await until(is_live)
        status, _, jpeg = await fetch(f"{facewire.url}api/cameras/encoder/tracks")
        assert (status, json.loads(jpeg)["tracks"]) == (200, [])
        resource = facewire.url.rstrip("/") + location
        assert (await fetch(resource, "DELETE"))[0] == 200

        async def is_gone() -> bool:
            return not await camera(facewire, "encoder")

        await until(is_gone)
        await peer.close()

    asyncio.run(scenario())
