"""WebRTC peers: viewers of a camera, and browsers that send their own."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import av
from aiortc import (
    MediaStreamError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpCodecCapability,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from stream.budget import Budget, Client
from stream.errors import SignalingError
from stream.ice import IceServers
from stream.supervisor import Supervisor
from stream.video.encoder import Codec
from stream.video.packet_hub import HubClosed, PacketHub, Subscription
from stream.video.rendition import Feed
from stream.webrtc.sdp import (
    DAMAGE,
    OfferedMedia,
    finish_answer,
    has_candidate,
    parse_offer,
    split_names,
    with_directions,
)
from stream.webrtc.viewer import FaceTeller, HubTrack, look_after

logger = logging.getLogger(__name__)

# Seconds a peer may take from its answer to its first frame; ICE over a relay takes about five.
CONNECT_TIMEOUT_S = 20.0

# Seconds that closing one peer may take; it sends a BYE and waits for no reply.
CLOSE_TIMEOUT_S = 0.8

# Each costs about 1 % of a core (measured with up to 50).
MAX_PEERS = 100

# Retransmissions, RFC 4588.
RTX = "video/rtx"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an offer.

    Attributes:
        sdp: the answer, with all candidates.
        peer_id: id of the connection, for `Peers.close`; cannot be guessed.
        via: what sends the video: "facewire" itself, or the kind of an SFU.
    """

    sdp: str
    peer_id: str
    via: str = "facewire"


@dataclass(slots=True)
class _Peer:
    """One connection and the resources that end with it."""

    connection: RTCPeerConnection
    on_close: Callable[[], None]
    client: Client | None = None
    sent: list[HubTrack] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    async def end(self) -> None:
        """Close the connection and its resources."""
        if self.timer is not None:
            self.timer.cancel()
        for task in self.tasks:
            task.cancel()
        for track in self.sent:
            # aiortc stops it only if the connection was established.
            track.stop()
        # aiortc may be closing it by itself, and a wait for that must not cancel it
        await asyncio.shield(self.connection.close())


class Peers:
    """All WebRTC connections; for the event loop only.

    Args:
        ice: the STUN and TURN servers.
        supervisor: logs, counts and shows failures of a connection's tasks.
        max_peers: maximum number of connections.
    """

    def __init__(
        self,
        ice: IceServers,
        *,
        supervisor: Supervisor,
        max_peers: int = MAX_PEERS,
    ) -> None:
        self._work = supervisor.watch("viewers")
        self.ice = ice
        self._places = Budget("viewers", max_peers)
        self._peers: dict[str, _Peer] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._peers)

    async def watch(
        self,
        offer_sdp: str,
        hub: PacketHub,
        on_close: Callable[[], None] = lambda: None,
        *,
        raw: bool = False,
        small: bool = False,
        client: Client | None = None,
    ) -> Answer:
        """Answer an offer to watch a camera.

        Args:
            offer_sdp: complete, not trickled.
            hub: the camera's packets.
            raw: send the video without boxes and names; the faces go over the data channel named
                "tracks" if the viewer opens it.
            small: send the small rendition, whatever the link quality.
            on_close: called once when the peer is closed, by either side.
            client: the client; None for the service itself.

        Raises:
            SignalingError: if the offer cannot be answered; the message says why.
            BusyError: if there is no capacity for that client.
        """
        offer_sdp = with_directions(offer_sdp)
        media = parse_offer(offer_sdp)
        if not any(section.kind == "video" and section.receives for section in media):
            raise SignalingError("the offer does not receive video: use recvonly")
        look = Feed(raw=raw, small=small)
        return await self._answer(
            offer_sdp, media, hub=hub, on_frame=None, on_close=on_close, client=client, look=look
        )

    async def receive(
        self,
        offer_sdp: str,
        on_frame: Callable[[av.VideoFrame], None],
        hub: PacketHub | None,
        on_close: Callable[[], None] = lambda: None,
        *,
        client: Client | None = None,
    ) -> Answer:
        """Answer an offer of a browser's camera, and send video back if a hub is given.

        Args:
            offer_sdp: complete, not trickled; sendrecv, or one sendonly and one recvonly section.
            on_frame: receives every frame, in the event loop; must return at once.
            hub: what to send back; None for nothing.
            on_close: called once when the peer is closed, by either side.
            client: the client; None for the service itself.

        Raises:
            SignalingError: if the offer cannot be answered; the message says why.
            BusyError: if there is no capacity for that client.
        """
        offer_sdp = with_directions(offer_sdp)
        media = parse_offer(offer_sdp)
        if not any(section.kind == "video" and section.sends for section in media):
            raise SignalingError("the offer does not send video: use sendonly or sendrecv")
        return await self._answer(
            offer_sdp, media, hub=hub, on_frame=on_frame, on_close=on_close, client=client
        )

    async def close(self, peer_id: str) -> None:
        """Close a connection, and return when it is done; does nothing if it is already closed."""
        self._close_soon(peer_id)
        if (task := self._closing.get(peer_id)) is not None:
            # The caller may be canceled, as when a web client disconnects.
            await asyncio.shield(task)

    async def close_all(self) -> None:
        """Close all connections at the same time; takes less than a second."""
        for peer_id in tuple(self._peers):
            self._close_soon(peer_id)
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    async def _answer(
        self,
        offer_sdp: str,
        media: tuple[OfferedMedia, ...],
        *,
        hub: PacketHub | None,
        on_frame: Callable[[av.VideoFrame], None] | None,
        on_close: Callable[[], None],
        client: Client | None,
        look: Feed = Feed(),  # noqa: B008 - it is frozen
    ) -> Answer:
        self._places.take(client)
        peer_id = secrets.token_urlsafe(16)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=ice_servers(self.ice)))
        peer = _Peer(connection, on_close, client)
        self._peers[peer_id] = peer
        try:
            sections = self._prepare(
                peer_id, peer, media, hub, takes_camera=on_frame is not None, look=look
            )
            offer_sdp, late = split_names(offer_sdp)
            answer_sdp = await _negotiate(connection, offer_sdp, receiving=sections)
            if peer_id not in self._peers:
                raise SignalingError("the service is stopping")
        except BaseException:
            if self._peers.pop(peer_id, None) is not None:
                self._places.give_back(client)
                await peer.end()
            raise
        loop = asyncio.get_running_loop()
        close = partial(self._close_soon, peer_id)
        for transceiver in sections.values():
            assert on_frame is not None
            pump = self._pump(peer_id, transceiver.receiver.track, on_frame)
            peer.tasks.append(self._work.task(pump, on_failure=close))
        # Without that address the others may suffice.
        peer.tasks += [self._work.task(_add_late(connection, each)) for each in late]
        peer.timer = loop.call_later(CONNECT_TIMEOUT_S, self._give_up, peer_id)
        connection.on("connectionstatechange", lambda: self._state_changed(peer_id, peer))
        self._state_changed(peer_id, peer)
        logger.info("peer %s has been answered", peer_id[:6])
        return Answer(sdp=answer_sdp, peer_id=peer_id)

    def _prepare(
        self,
        peer_id: str,
        peer: _Peer,
        media: tuple[OfferedMedia, ...],
        hub: PacketHub | None,
        *,
        takes_camera: bool,
        look: Feed,
    ) -> dict[int, RTCRtpTransceiver]:
        """Add a transceiver per section, in order; return those that receive a camera."""
        receiving: dict[int, RTCRtpTransceiver] = {}
        for index, section in enumerate(media):
            if section.kind == "audio":
                # Otherwise aiortc would receive it and queue it without bound.
                peer.connection.addTransceiver("audio", "inactive")
            if section.kind != "video":
                continue
            takes = takes_camera and section.sends and not receiving
            if hub is not None and section.receives and not peer.sent:
                transceiver = self._add_track(peer_id, peer, section, hub, look)
                transceiver.direction = "sendrecv" if takes else "sendonly"
            else:
                transceiver = peer.connection.addTransceiver(
                    "video", "recvonly" if takes else "inactive"
                )
            if takes:
                receiving[index] = transceiver
        return receiving

    def _add_track(
        self, peer_id: str, peer: _Peer, section: OfferedMedia, hub: PacketHub, look: Feed
    ) -> RTCRtpTransceiver:
        if not section.codecs:
            raise SignalingError("the offer supports neither H.264 constrained baseline nor VP8")
        codec = section.codecs[0]
        try:
            subscription = hub.subscribe(replace(look, codec=codec))
        except HubClosed:
            raise SignalingError("the camera has just been removed") from None
        track = HubTrack(subscription)
        track.on("ended", lambda: self._close_soon(peer_id))
        peer.sent.append(track)
        transceiver = peer.connection.addTransceiver(track, "sendonly")
        transceiver.setCodecPreferences(preferences(codec))
        # aiortc reports lost frames only to its own encoder, by this private name.
        transceiver.sender._send_keyframe = subscription.request_keyframe  # type: ignore[method-assign]
        if look.raw:
            teller = FaceTeller(transceiver.sender)
            track.on_packet = teller.tell
            peer.connection.on("datachannel", teller.use)
        supervision = self._supervise(peer_id, transceiver.sender, subscription)
        close = partial(self._close_soon, peer_id)
        peer.tasks.append(self._work.task(supervision, on_failure=close))
        return transceiver

    def _state_changed(self, peer_id: str, peer: _Peer) -> None:
        state = peer.connection.connectionState
        logger.debug("peer %s is %s", peer_id[:6], state)
        if state == "connected" and peer.timer is not None:
            peer.timer.cancel()
        if state in ("failed", "closed"):
            self._close_soon(peer_id)

    def _give_up(self, peer_id: str) -> None:
        logger.info("peer %s has not connected in %.0f s", peer_id[:6], CONNECT_TIMEOUT_S)
        self._close_soon(peer_id)

    def _close_soon(self, peer_id: str) -> None:
        if (peer := self._peers.pop(peer_id, None)) is not None:
            self._places.give_back(peer.client)
            self._closing[peer_id] = self._work.task(self._hang_up(peer_id, peer))

    async def _hang_up(self, peer_id: str, peer: _Peer) -> None:
        try:
            await asyncio.wait_for(peer.end(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.warning("peer %s did not close in %.1f s", peer_id[:6], CLOSE_TIMEOUT_S)
        finally:
            del self._closing[peer_id]
            logger.info("peer %s disconnected", peer_id[:6])
            peer.on_close()

    async def _supervise(
        self, peer_id: str, sender: RTCRtpSender, subscription: Subscription
    ) -> None:
        await look_after(peer_id, sender, subscription)
        self._close_soon(peer_id)

    async def _pump(
        self, peer_id: str, track: MediaStreamTrack, on_frame: Callable[[av.VideoFrame], None]
    ) -> None:
        # aiortc's queue has no bound, so it is emptied even if the frames are not used.
        with suppress(MediaStreamError):
            while True:
                on_frame(cast(av.VideoFrame, await track.recv()))
        self._close_soon(peer_id)


async def _add_late(connection: RTCPeerConnection, candidate: RTCIceCandidate) -> None:
    """Resolve a candidate by multicast DNS and add it; without multicast it is ignored."""
    try:
        await connection.addIceCandidate(candidate)
    except (OSError, ValueError, InvalidStateError) as error:
        logger.debug("%s is ignored: %s", candidate.ip, error)


async def _negotiate(
    connection: RTCPeerConnection, offer_sdp: str, *, receiving: Collection[int]
) -> str:
    """Answer an offer for which the transceivers have been added."""
    try:
        await connection.setRemoteDescription(RTCSessionDescription(offer_sdp, "offer"))
        await connection.setLocalDescription()
    except (
        *DAMAGE,
        InternalError,
        InvalidAccessError,
        InvalidStateError,
        OperationError,
    ) as error:
        # Some of these exceptions have no message.
        reason = str(error) or type(error).__name__
        raise SignalingError(f"the offer cannot be answered: {reason}") from error
    answer_sdp = finish_answer(connection.localDescription.sdp, receiving=receiving)
    if not has_candidate(answer_sdp):
        raise SignalingError(
            "this machine has no network address for WebRTC: it needs one besides loopback"
        )
    return answer_sdp


def preferences(codec: Codec) -> list[RTCRtpCodecCapability]:
    """Return a codec's variants, constrained baseline first, and retransmissions."""
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    chosen = [each for each in capabilities if each.mimeType in (codec, RTX)]
    return sorted(chosen, key=lambda each: each.parameters.get("profile-level-id") != "42e01f")


def ice_servers(ice: IceServers) -> list[RTCIceServer]:
    """Return the STUN and TURN servers as aiortc takes them."""
    return [
        RTCIceServer(server.url, server.username or None, server.credential or None)
        for server in ice.current()
    ]
