"""Janus as the SFU: facewire sends it each watched camera once, and it serves the viewers.

A stream is a mount point of Janus's streaming plugin, fed by SRTP. It exists while somebody watches
it: facewire passes on every viewer's offer, so it knows, and a camera without viewers is not
encoded. A mount point has one RTP payload type, and browsers differ in theirs: for each there is a
mount point of its own with the same packets.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from stream.budget import Budget, Client
from stream.config import SfuConfig
from stream.errors import SfuAwayError, SfuError, SignalingError
from stream.sfu.janus_api import JanusSession, Message, os_reason
from stream.sfu.rtp import Packetizer, RtpSocket, RtpStream
from stream.sfu.status import SfuStatus
from stream.sfu.swapped_sdp import PlayerVideo, find_video, swap
from stream.supervisor import SupervisedTask, Supervisor
from stream.video.encoder import Codec
from stream.video.packet_hub import HubClosed, PacketHub, Subscription
from stream.video.rendition import Feed
from stream.webrtc.peers import CONNECT_TIMEOUT_S, Answer

logger = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 3.0
"""Seconds from the loss of Janus to the next try: cameras are back within 5 s of its return."""

LINGER_S = 10.0
"""How long a stream stays without viewers: a page that reloads finds it."""

STOP_S = 0.8
"""Seconds to remove the mount points at a stop; what is left is removed at the next start."""

HELPER_THREADS = 2
"""Threads of Janus that relay one stream, beside the one that receives it."""


@dataclass(slots=True, eq=False)
class _Mount:
    """One mount point; `id` is 0 while it does not exist."""

    payload_type: int
    fmtp: str
    rtp: RtpStream
    id: int = 0
    pin: str = ""
    port: int = 0
    rtcp_port: int = 0
    n_viewers: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _Stream:
    """One form of a camera's video, and its mount points by payload type."""

    camera: str
    hub: PacketHub
    feed: Feed
    mounts: dict[int, _Mount] = field(default_factory=dict)
    subscription: Subscription | None = None
    pump: "asyncio.Task[None] | None" = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class _Viewer:
    """One viewer, served by Janus."""

    peer_id: str
    handle: int
    stream: _Stream
    mount: _Mount
    client: Client | None
    on_close: Callable[[], None]
    timer: asyncio.TimerHandle | None = None


class JanusSfu:
    """Sends cameras to a Janus and passes viewers' offers on; for the event loop only.

    Args:
        config: its address and secret.
        room: separates the streams of this service from those of others.
        supervisor: logs, counts and shows failures.
    """

    kind = "janus"

    def __init__(self, config: SfuConfig, *, room: str, supervisor: Supervisor) -> None:
        self._config = config
        self._room = room
        self._host = urlsplit(config.url).hostname or ""
        self._work = supervisor.watch("sfu viewers")
        self._supervisor = supervisor
        self._task: SupervisedTask | None = None
        self._session: JanusSession | None = None
        self._control = 0
        self._socket = RtpSocket()
        self._address = ""
        self._streams: dict[tuple[PacketHub, Feed], _Stream] = {}
        self._viewers: dict[str, _Viewer] = {}
        self._handles: dict[int, _Viewer] = {}
        self._places = Budget("viewers of the SFU", config.max_viewers)
        self._published = self._losses = self._failures = self._dropped = 0
        self._trouble = "has not been reached yet"
        self.on_back: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Connect, and connect again whenever Janus is lost."""
        self._task = self._supervisor.task("sfu", self._run)

    async def stop(self) -> None:
        """Remove the streams and disconnect."""
        if self._session is not None:
            mounts = [mount for each in self._streams.values() for mount in each.mounts.values()]
            removals = [self._work.task(self._destroy(mount)) for mount in mounts]
            if removals:
                await asyncio.wait(removals, timeout=STOP_S)
        if self._task is not None:
            await self._task.stop()

    @property
    def is_there(self) -> bool:
        """Whether it takes viewers now."""
        return not self._trouble

    def status(self) -> SfuStatus:
        """Return its state."""
        return SfuStatus(
            kind=self.kind,
            is_there=self.is_there,
            streams=sum(
                bool(m.id) for each in self._streams.values() for m in each.mounts.values()
            ),
            viewers=len(self._viewers),
            published=self._published,
            losses=self._losses,
            failures=self._failures,
            dropped=self._dropped + self._socket.n_dropped,
            trouble=self._trouble,
        )

    async def watch(
        self,
        offer_sdp: str,
        camera: str,
        hub: PacketHub,
        *,
        small: bool,
        on_close: Callable[[], None],
        client: Client | None,
    ) -> Answer | None:
        """Return Janus's answer to a viewer's offer; None where facewire must serve it.

        Raises:
            BusyError: if Janus serves as many viewers as it may.
        """
        video = find_video(offer_sdp)
        session = self._session
        if video is None or session is None or not self.is_there:
            return None
        self._places.take(client)
        stream = self._stream(camera, hub, Feed(Codec.H264, small=small))
        mount = None
        try:
            mount = await self._mount(session, stream, video)
            handle, answer = await self._answer(session, mount, offer_sdp, video)
        except HubClosed:
            self._places.give_back(client)
            self._leave(stream, mount)
            return None  # facewire itself says so
        except (SfuError, SignalingError) as error:
            self._failures += 1
            logger.warning("%s: a viewer of %s is served without it: %s", self._name, camera, error)
            self._places.give_back(client)
            self._leave(stream, mount)
            if isinstance(error, SfuAwayError):
                self._doubt(session, str(error))
            return None
        except BaseException:
            self._places.give_back(client)
            self._leave(stream, mount)
            raise
        viewer = _Viewer(secrets.token_urlsafe(16), handle, stream, mount, client, on_close)
        self._viewers[viewer.peer_id] = self._handles[handle] = viewer
        self._count(hub)
        loop = asyncio.get_running_loop()
        viewer.timer = loop.call_later(CONNECT_TIMEOUT_S, self._end, viewer)
        return Answer(answer, viewer.peer_id, via=self.kind)

    async def close(self, peer_id: str) -> None:
        """End a viewer's connection; does nothing if it is not one of these."""
        if (viewer := self._viewers.get(peer_id)) is not None:
            self._end(viewer)

    @property
    def _name(self) -> str:
        return f"janus at {self._host}"

    async def _run(self) -> None:
        delay_s, is_away = FIRST_DELAY_S, False
        while True:
            reason = "closed the connection"
            try:
                async with JanusSession.open(self._config.url, self._config.secret) as session:
                    session.on_event = self._event
                    session.on_late = partial(self._late, session)
                    await self._begin(session)
                    delay_s, is_away = FIRST_DELAY_S, False
                    await session.wait_lost()
            except SfuError as error:
                self._failures += 1
                reason = str(error)
            except OSError as error:
                self._failures += 1
                reason = f"cannot be reached: {os_reason(error)}"
            finally:
                self._lost()
            is_news = not is_away or (reason != self._trouble and "refuses" in reason)
            level = logging.WARNING if is_news else logging.DEBUG
            logger.log(level, "%s %s: facewire serves the viewers itself", self._name, reason)
            self._trouble, is_away = reason, True
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _doubt(self, session: JanusSession, reason: str) -> None:
        """Send no viewers to a Janus that did not answer, until it does."""
        if self._session is session and self.is_there:
            self._trouble = reason
            self._work.task(self._await_answer(session))

    async def _await_answer(self, session: JanusSession) -> None:
        while self._session is session:
            try:
                await self._list(session)
            except SfuError:
                await asyncio.sleep(FIRST_DELAY_S)
                continue
            if self._session is session:
                self._trouble = ""
                self.on_back()
            return

    async def _list(self, session: JanusSession) -> list[Any]:
        """Return the mount points of Janus."""
        listed = await session.call(self._control, {"request": "list", **self._admin})
        return list(listed.get("list", ()))

    async def _begin(self, session: JanusSession) -> None:
        """Prepare a new session: nothing is left of earlier ones, and the streams are there."""
        loop = asyncio.get_running_loop()
        host = urlsplit(self._config.url).hostname
        found = await loop.getaddrinfo(host, None, type=2)  # a datagram socket
        family, self._address = found[0][0], str(found[0][4][0])
        self._socket = RtpSocket()
        local = ("::", 0) if family.name == "AF_INET6" else ("0.0.0.0", 0)
        await loop.create_datagram_endpoint(lambda: self._socket, local_addr=local)
        self._control = await session.attach()
        for each in await self._list(session):
            if str(each.get("description", "")).startswith(self._prefix):
                await session.call(
                    self._control, {"request": "destroy", "id": each["id"], **self._admin}
                )
        again: list[tuple[_Stream, _Mount]] = []
        for stream in tuple(self._streams.values()):
            try:
                self._pump(stream)
            except HubClosed:
                self._removed(stream)
            for mount in tuple(stream.mounts.values()):
                await self._create(session, stream, mount)
                again.append((stream, mount))
        self._session = session
        for stream, mount in again:
            if stream.mounts.get(mount.payload_type) is not mount:  # it has expired meanwhile
                self._work.task(self._destroy(mount))
        self._trouble = ""
        n = sum(len(stream.mounts) for stream in self._streams.values())
        logger.info("%s serves the viewers, %d streams are published again", self._name, n)
        self.on_back()

    def _lost(self) -> None:
        """Forget what ended with the connection; the streams stay, to be published again."""
        if self._session is None:
            self._dropped += self._socket.n_dropped
            self._socket.close()
            return
        self._session, self._losses, self._trouble = None, self._losses + 1, "was lost"
        self._dropped += self._socket.n_dropped
        self._socket.close()
        self._socket = RtpSocket()
        for stream in self._streams.values():
            self._halt(stream)
            for mount in stream.mounts.values():
                mount.id = 0
        for viewer in tuple(self._viewers.values()):
            self._end(viewer)

    @property
    def _admin(self) -> Message:
        return {"admin_key": self._config.secret} if self._config.secret else {}

    @property
    def _prefix(self) -> str:
        return f"facewire {self._room}: "

    def _stream(self, camera: str, hub: PacketHub, feed: Feed) -> _Stream:
        stream = self._streams.get((hub, feed))
        if stream is None:
            stream = self._streams[hub, feed] = _Stream(camera, hub, feed)
        return stream

    async def _mount(self, session: JanusSession, stream: _Stream, video: PlayerVideo) -> _Mount:
        """Return the mount point for a payload type, with one viewer more."""
        async with stream.changing:
            mount = stream.mounts.get(video.payload_type)
            if mount is None:
                rtp = RtpStream(self._socket, payload_type=video.payload_type)
                mount = stream.mounts[video.payload_type] = _Mount(
                    video.payload_type, video.fmtp, rtp
                )
            mount.n_viewers += 1
            if mount.timer is not None:
                mount.timer.cancel()
                mount.timer = None
            try:
                self._pump(stream)
                if not mount.id:
                    await self._create(session, stream, mount)
            except BaseException:
                self._leave(stream, mount)
                raise
        return mount

    async def _create(self, session: JanusSession, stream: _Stream, mount: _Mount) -> None:
        rtp = RtpStream(self._socket, payload_type=mount.payload_type)
        pin = secrets.token_urlsafe(12)
        media: dict[str, Any] = {
            "type": "video",
            "mid": "v",
            "codec": "h264",
            "fmtp": mount.fmtp,
            "pt": mount.payload_type,
            "port": 0,
            "rtcpport": 0,
        }
        created = await session.call(
            self._control,
            {
                "request": "create",
                "type": "rtp",
                "description": f"{self._prefix}{stream.camera}",
                "pin": pin,
                "is_private": False,
                "permanent": False,
                "threads": HELPER_THREADS,
                "srtpsuite": 80,
                "srtpcrypto": rtp.crypto,
                "media": [media],
                **self._admin,
            },
        )
        made = created["stream"]
        mount.id, mount.rtp, mount.pin = int(made["id"]), rtp, pin
        ports = (made.get("ports") or [{}])[0]
        mount.port, mount.rtcp_port = int(ports["port"]), int(ports["rtcp_port"])
        self._socket.listen(mount.rtcp_port, partial(stream.hub.request_keyframe, stream.feed))
        stream.hub.request_keyframe(stream.feed)
        self._published += 1

    async def _answer(
        self, session: JanusSession, mount: _Mount, offer_sdp: str, video: PlayerVideo
    ) -> tuple[int, str]:
        handle = await session.attach()
        try:
            offer = await session.negotiate(
                handle, {"request": "watch", "id": mount.id, "pin": mount.pin}
            )
            for_player, for_janus = swap(offer_sdp, offer, video)
            await session.negotiate(handle, {"request": "start"}, answer_sdp=for_janus)
        except BaseException:
            self._work.task(session.detach(handle))
            raise
        return handle, for_player

    def _pump(self, stream: _Stream) -> None:
        """Send the stream's packets, unless that is done already.

        Raises:
            HubClosed: if the camera was removed.
        """
        if stream.pump is None or stream.pump.done():
            stream.subscription = stream.hub.subscribe(stream.feed)
            stream.pump = self._work.task(self._send(stream, stream.subscription))
            self._count(stream.hub)

    async def _send(self, stream: _Stream, subscription: Subscription) -> None:
        packetize = Packetizer()
        try:
            while True:
                payloads, timestamp = packetize(await subscription.recv())
                for mount in stream.mounts.values():
                    if mount.id:
                        mount.rtp.send(
                            payloads, timestamp, self._address, mount.port, mount.rtcp_port
                        )
        except HubClosed:
            self._removed(stream)

    def _removed(self, stream: _Stream) -> None:
        """End the viewers of a camera that was removed."""
        for viewer in tuple(self._viewers.values()):
            if viewer.stream is stream:
                self._end(viewer)
        for mount in tuple(stream.mounts.values()):
            self._expire(stream, mount)

    def _halt(self, stream: _Stream) -> None:
        if stream.pump is not None:
            stream.pump.cancel()
            stream.pump = None
        if stream.subscription is not None:
            stream.subscription.close()
            stream.subscription = None
            self._count(stream.hub)

    def _count(self, hub: PacketHub) -> None:
        """Tell a camera how many watch it."""
        n_viewers = sum(each.stream.hub is hub for each in self._viewers.values())
        n_streams = sum(
            each.hub is hub and each.subscription is not None for each in self._streams.values()
        )
        hub.n_beyond = n_viewers - n_streams

    def _leave(self, stream: _Stream, mount: _Mount | None) -> None:
        """Note that one viewer less watches a mount point; None for one that was not made."""
        if mount is None:
            return
        mount.n_viewers -= 1
        if mount.n_viewers == 0:
            loop = asyncio.get_running_loop()
            mount.timer = loop.call_later(LINGER_S, self._expire, stream, mount)

    def _expire(self, stream: _Stream, mount: _Mount) -> None:
        """Remove a mount point, and its stream with the last."""
        if mount.timer is not None:
            mount.timer.cancel()
        if stream.mounts.get(mount.payload_type) is mount:
            del stream.mounts[mount.payload_type]
        if self._session is not None and mount.id:
            self._work.task(self._destroy(mount))
        if not stream.mounts:
            self._halt(stream)
            self._streams.pop((stream.hub, stream.feed), None)

    async def _destroy(self, mount: _Mount) -> None:
        if self._session is None or not mount.id:
            return
        self._socket.listen(mount.rtcp_port, None)
        mount_id, mount.id = mount.id, 0
        await self._remove(self._session, mount_id)

    async def _remove(self, session: JanusSession, mount_id: int) -> None:
        try:
            await session.call(self._control, {"request": "destroy", "id": mount_id, **self._admin})
        except SfuError as error:
            logger.debug("%s: a stream was not removed: %s", self._name, error)

    def _late(self, session: JanusSession, answer: Message) -> None:
        """Remove the handle or mount point that was asked for by a viewer that is gone."""
        data = (answer.get("plugindata") or {}).get("data") or {}
        if "plugindata" not in answer and "data" in answer:
            self._work.task(session.detach(answer["data"]["id"]))
        elif data.get("streaming") == "created":
            self._work.task(self._remove(session, data["stream"]["id"]))

    def _event(self, handle: int, kind: str, message: Message) -> None:
        viewer = self._handles.get(handle)
        if viewer is None:
            return
        if kind == "webrtcup" and viewer.timer is not None:
            viewer.timer.cancel()
        elif kind in ("hangup", "detached"):
            self._end(viewer)

    def _end(self, viewer: _Viewer) -> None:
        if self._viewers.pop(viewer.peer_id, None) is None:
            return
        self._handles.pop(viewer.handle, None)
        if viewer.timer is not None:
            viewer.timer.cancel()
        self._places.give_back(viewer.client)
        if self._session is not None:
            self._work.task(self._session.detach(viewer.handle))
        self._leave(viewer.stream, viewer.mount)
        self._count(viewer.stream.hub)
        viewer.on_close()
