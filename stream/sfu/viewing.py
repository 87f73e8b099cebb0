"""Viewers of a camera: served by the SFU where there is one, or else by facewire itself."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from stream.budget import Client
from stream.sfu.status import SfuStatus
from stream.supervisor import Watched
from stream.video.packet_hub import PacketHub
from stream.webrtc.peers import Answer, Peers

RETURN_GAP_S = 0.1
"""Seconds between two viewers that are sent back to the SFU: each reconnects."""


class Sfu(Protocol):
    """An SFU that facewire sends its cameras to; for the event loop only.

    Attributes:
        kind: "janus" or "whip".
        on_back: called when it takes viewers, at first and after it was away.
    """

    kind: str
    on_back: Callable[[], None]

    @property
    def is_there(self) -> bool:
        """Whether it takes viewers or cameras now."""

    def start(self) -> None:
        """Connect, and keep connected."""

    async def stop(self) -> None:
        """Remove what was sent, and disconnect."""

    def status(self) -> SfuStatus:
        """Return its state."""

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
        """Return its answer to a viewer's offer; None where facewire must serve it."""

    async def close(self, peer_id: str) -> None:
        """End a viewer's connection; does nothing if it is not one of its own."""


class Viewing:
    """Answers the offers of viewers; for the event loop only.

    Attributes:
        sfu: serves viewers; None if none is configured.

    Args:
        peers: serve all other viewers.
        sfu: serves viewers.
        work: the tasks that send viewers back to the SFU.
    """

    def __init__(self, peers: Peers, sfu: Sfu | None, work: Watched) -> None:
        self.sfu = sfu
        self._peers = peers
        self._work = work
        self._guests: set[str] = set()
        if sfu is not None:
            sfu.on_back = self._is_back

    @property
    def trouble(self) -> str:
        """Why viewers are not served by the configured SFU now; empty if they are."""
        if self.sfu is None:
            return ""
        status = self.sfu.status()
        if status.trouble:
            return f"the SFU ({status.kind}): {status.trouble}; facewire serves the viewers itself"
        return ""

    async def watch(
        self,
        offer_sdp: str,
        camera: str,
        hub: PacketHub,
        on_close: Callable[[], None] = lambda: None,
        *,
        raw: bool = False,
        small: bool = False,
        direct: bool = False,
        reconnects: bool = False,
        client: Client | None = None,
    ) -> Answer:
        """Answer an offer to watch a camera.

        Args:
            offer_sdp: complete, not trickled.
            camera: its name.
            hub: its packets.
            on_close: called once when the connection is closed, by either side.
            raw: without boxes and names; only facewire itself sends that.
            small: in half the width and height.
            direct: without the SFU.
            reconnects: the viewer connects again when its connection ends, so it may be served
                directly until the SFU is back.
            client: the viewer; None for the service itself.

        Raises:
            SignalingError: if the offer cannot be answered; the message says why.
            BusyError: if there is no capacity for that client.
        """
        if self.sfu is not None and not raw and not direct:
            answer = await self.sfu.watch(
                offer_sdp, camera, hub, small=small, on_close=on_close, client=client
            )
            if answer is not None:
                return answer
        is_guest = reconnects and not raw and not direct and bool(self.trouble)
        peer_id = ""

        def closed() -> None:
            self._guests.discard(peer_id)
            on_close()

        answer = await self._peers.watch(
            offer_sdp, hub, closed, raw=raw, small=small, client=client
        )
        peer_id = answer.peer_id
        if is_guest:
            self._guests.add(peer_id)
        return answer

    async def close(self, peer_id: str) -> None:
        """Close a connection; does nothing if it is already closed."""
        if self.sfu is not None:
            await self.sfu.close(peer_id)
        await self._peers.close(peer_id)

    def _is_back(self) -> None:
        self._work.task(self._send_back())

    async def _send_back(self) -> None:
        """End the connections of viewers that belong to the SFU, one by one."""
        for peer_id in tuple(self._guests):
            if peer_id in self._guests:
                await self._peers.close(peer_id)
                await asyncio.sleep(RETURN_GAP_S)
