"""The page's WebSocket: offers and answers, camera states, faces, and live events.

From the page, JSON objects by `type`:
    offer   {id, camera, sdp}    watch a camera; with raw: true without boxes and names, which
                                 arrive over the data channel "tracks" that the page opens; with
                                 small: true in half the width and height
    offer   {id, publish, sdp}   send this browser's camera under a name and get it back annotated
    close   {id}                 end the connection of that offer
    follow  {camera}             receive the faces of a camera, null to stop
To the page: answer {id, peer, sdp, via, notice}, closed {id}, error {id, message}, event {event},
cameras {cameras}, tracks {camera, seq, width, height, tracks}. What concerns a camera of another
machine is relayed to that one. Connections that a socket started end with it. `cameras` is sent
every two seconds: without it the page has lost the service.
"""

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass

from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from gallery import GalleryError
from stream.api.camera_messages import CHECK_S, CameraMessage, CameraMessages
from stream.api.publisher import publish
from stream.api.security import VIEWERS_ONLY_LOOK
from stream.budget import Budget, Client
from stream.errors import BusyError, SignalingError, StreamError, UnknownCameraError
from stream.front.relay import Relays
from stream.front.signed_calls import Caller
from stream.schemas.events import event_json
from stream.schemas.faces import tracks_json
from stream.service import Service

logger = logging.getLogger(__name__)

TRACKS_PERIOD_S = 0.1  # often enough to click a moving face
MAX_WAITING = 128  # messages; a page that reads nothing for about ten seconds is disconnected
MAX_MESSAGE = 256 * 1024  # characters; an offer has about 8,000
MAX_MESSAGE_BYTES = 4 * MAX_MESSAGE  # beyond it the socket is closed before the message is whole
MAX_WORD = 200  # characters of an offer's id and of a camera's name
MAX_OFFERS = 32  # of one page: a wall of 16 cameras, twice

MAX_REASON = 120  # characters of a reason to close; RFC 6455, 5.5 allows 123 bytes
TRY_AGAIN_LATER = 1013  # RFC 6455 registry: the page reconnects


@dataclass(frozen=True, slots=True)
class Watch:
    """Request to watch a camera."""

    offer_id: str
    camera: str
    sdp: str
    raw: bool = False
    small: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Request to send a camera."""

    offer_id: str
    name: str
    sdp: str


@dataclass(frozen=True, slots=True)
class Close:
    """Request to end the connection of an offer."""

    offer_id: str


@dataclass(frozen=True, slots=True)
class Follow:
    """Request for the faces of a camera; None to stop."""

    camera: str | None


Request = Watch | Publish | Close | Follow


def parse(text: str) -> Request:
    """Return a parsed message of the page.

    Raises:
        SignalingError: if it is invalid; the message says what is wrong.
    """
    if len(text) > MAX_MESSAGE:
        raise SignalingError(f"a message has at most {MAX_MESSAGE} characters, got {len(text)}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SignalingError("a message must be JSON") from error
    if not isinstance(fields, dict):
        raise SignalingError("a message must be a JSON object")
    for key, value in fields.items():
        if isinstance(value, str) and (
            (key != "sdp" and len(value) > MAX_WORD) or not is_text(value)
        ):
            raise SignalingError(f"{key[:40]!r} is too long or no text")
    match fields:
        case {"type": "offer", "id": str(offer_id), "camera": str(camera), "sdp": str(sdp)}:
            raw, small = (fields.get(each) is True for each in ("raw", "small"))
            return Watch(offer_id, camera, sdp, raw=raw, small=small)
        case {"type": "offer", "id": str(offer_id), "publish": str(name), "sdp": str(sdp)}:
            return Publish(offer_id, name, sdp)
        case {"type": "close", "id": str(offer_id)}:
            return Close(offer_id)
        case {"type": "follow", "camera": (str() | None) as followed}:
            return Follow(followed)
    raise SignalingError(f"unknown or incomplete message of type {str(fields.get('type'))[:40]!r}")


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8: JSON can hold lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def offer_id_of(text: str) -> str | None:
    """Return the offer id of a refused message, if it has one."""
    with suppress(ValueError, RecursionError):
        fields = json.loads(text)
        if isinstance(fields, dict) and isinstance(fields.get("id"), str):
            return str(fields["id"])[:MAX_WORD]
    return None


class Conversation:
    """One page's socket, from accept to the end of its last peer.

    Args:
        service: the running service.
        socket: accepted.
        client: its client; administrators may send cameras.
        pages: the budget of all sockets.
        cameras: camera messages, shared by all sockets.
        is_relayed: whether another machine asks for a page of its own, which it sends events and
            camera states itself.
    """

    def __init__(
        self,
        service: Service,
        socket: WebSocket,
        *,
        client: Client,
        pages: Budget,
        cameras: CameraMessages,
        is_relayed: bool = False,
    ) -> None:
        self._service = service
        self._cameras = cameras
        self._client = client
        self._pages = pages
        self._socket = socket
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._is_slow = asyncio.Event()
        self._peers: dict[str, str] = {}
        self._followed: str | None = None
        self._is_relayed = is_relayed
        front = None if is_relayed else service.front
        self._relays = None if front is None else Relays(front, Caller.of(client), self._send)

    async def run(self) -> None:
        """Serve the socket until the page leaves or cannot keep up."""
        try:
            self._pages.take(self._client)
        except BusyError as error:
            await self._socket.close(TRY_AGAIN_LATER, str(error)[:MAX_REASON])
            return
        try:
            await self._talk()
        finally:
            self._pages.give_back(self._client)

    async def _talk(self) -> None:
        works: dict[str, Coroutine[None, None, object]] = {
            "listen": self._listen(),
            "speak": self._speak(),
            "tracks": self._tell_tracks(),
            "slow": self._is_slow.wait(),
        }
        if not self._is_relayed:
            works |= {"events": self._tell_events(), "cameras": self._tell_cameras()}
        tasks = [asyncio.create_task(work, name=f"page-{name}") for name, work in works.items()]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # Separate tasks, which continue if this one is canceled.
            goodbyes = [
                asyncio.create_task(self._service.viewing.close(peer_id), name="page-goodbye")
                for peer_id in self._peers.values()
            ]
            if self._relays is not None:
                goodbyes.append(asyncio.create_task(self._relays.end(), name="page-goodbye"))
            await asyncio.wait([*tasks, *goodbyes])
        if self._is_slow.is_set():
            logger.info("a page reads too slowly and is let go")
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(TRY_AGAIN_LATER, "too slow")
        for task in tasks:
            if not task.cancelled():
                # Sending to a page that has just disconnected is a RuntimeError.
                with suppress(WebSocketDisconnect, RuntimeError):
                    task.result()

    def _say(self, message: object) -> None:
        self._send(json.dumps(message, separators=(",", ":")))

    def _send(self, text: str) -> None:
        try:
            self._waiting.put_nowait(text)
        except asyncio.QueueFull:
            self._is_slow.set()

    async def _speak(self) -> None:
        while True:
            await self._socket.send_text(await self._waiting.get())

    async def _listen(self) -> None:
        while True:
            message: Message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or ""
            try:
                await self._do(parse(text), text)
            except (StreamError, GalleryError) as error:
                self._say({"type": "error", "id": offer_id_of(text), "message": str(error)})

    async def _do(self, request: Request, text: str) -> None:
        match request:
            case Follow(camera):
                self._followed = camera
            case Close(offer_id):
                if (peer_id := self._peers.pop(offer_id, None)) is not None:
                    await self._service.viewing.close(peer_id)
                elif self._relays is not None:
                    self._relays.close(offer_id)
            case Watch() | Publish():
                self._refuse_offer(request.offer_id)
                if not self._is_sent_on(request, text):
                    await self._answer(request)

    def _is_sent_on(self, offer: Watch | Publish, text: str) -> bool:
        """Send an offer to the machine that runs its camera; return whether another one does."""
        if self._relays is None or isinstance(offer, Publish):
            return False
        return self._relays.watch(offer.camera, offer.offer_id, text)

    def _refuse_offer(self, offer_id: str) -> None:
        relays = self._relays
        if offer_id in self._peers or (relays is not None and offer_id in relays):
            raise SignalingError("an offer's id is used once")
        if len(self._peers) + (0 if relays is None else len(relays)) >= MAX_OFFERS:
            raise SignalingError(f"at most {MAX_OFFERS} videos a page")

    async def _answer(self, offer: Watch | Publish) -> None:
        offer_id = offer.offer_id

        def gone() -> None:
            if self._peers.pop(offer_id, None) is not None:
                self._say({"type": "closed", "id": offer_id})

        if isinstance(offer, Watch):
            hub = self._service.cameras.get(offer.camera).video.hub
            answer = await self._service.viewing.watch(
                offer.sdp,
                offer.camera,
                hub,
                on_close=gone,
                raw=offer.raw,
                small=offer.small,
                reconnects=True,
                client=self._client,
            )
        elif not self._client.is_admin:
            raise SignalingError(VIEWERS_ONLY_LOOK)
        else:
            answer = await publish(
                self._service.cameras,
                self._service.peers,
                self._service.leaving,
                offer.name,
                offer.sdp,
                is_shown_back=True,
                on_close=gone,
                client=self._client,
            )
        self._peers[offer_id] = answer.peer_id
        self._say(
            {
                "type": "answer",
                "id": offer_id,
                "peer": answer.peer_id,
                "sdp": answer.sdp,
                "via": answer.via,
                "notice": self._service.viewing.trouble if answer.via == "facewire" else "",
            }
        )

    async def _tell_events(self) -> None:
        subscription = self._service.journal.subscribe()
        try:
            async for event in subscription:
                self._say({"type": "event", "event": event_json(event)})
        finally:
            subscription.close()

    async def _tell_cameras(self) -> None:
        sent: CameraMessage | None = None
        while True:
            message = self._cameras.current()
            if message is not sent:
                self._send(message.text(is_admin=self._client.is_admin))
                sent = message
            await asyncio.sleep(CHECK_S)

    async def _tell_tracks(self) -> None:
        told: tuple[str, int] | None = None
        while True:
            await asyncio.sleep(TRACKS_PERIOD_S)
            camera = self._followed
            if self._relays is not None and self._relays.follow(camera):
                continue
            if camera is None:
                continue
            try:
                tracks = tracks_json(camera, self._service.cameras.get(camera).latest)
            except UnknownCameraError:
                continue
            if told != (camera, tracks["seq"]):
                told = (camera, tracks["seq"])
                self._say({"type": "tracks", **tracks})
