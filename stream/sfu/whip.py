"""Cameras published to an SFU by WHIP (RFC 9725), such as MediaMTX or LiveKit.

The SFU's own viewers are unknown here, so each camera is published always. The packets are those of
facewire's own viewers, as they are; the SFU's requests for keyframes reach the encoder.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx2
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from stream.budget import Client
from stream.config import SfuConfig
from stream.config.sfu import CAMERA
from stream.errors import SfuError
from stream.http_address import origin, parse_http_address
from stream.ice import IceServers
from stream.sfu.status import SfuStatus
from stream.sfu.swapped_sdp import find_video
from stream.supervisor import SupervisedTask, Supervisor
from stream.video.encoder import Codec
from stream.video.packet_hub import HubClosed, PacketHub
from stream.video.rendition import Feed
from stream.webrtc.peers import CONNECT_TIMEOUT_S, Answer, ice_servers, preferences
from stream.webrtc.sdp import DAMAGE
from stream.webrtc.viewer import HubTrack, look_after

logger = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 3.0
"""Seconds from a failure to the next try, at first and at most."""

CHECK_S = 0.5
"""How often cameras that were added or removed are looked for."""

HTTP_S = 5.0
"""Seconds for each step of a request."""

SDP = "application/sdp"

Published = Callable[[], Iterable[tuple[str, PacketHub]]]
"""Returns the cameras that are there: their names and packets."""


@dataclass(slots=True, eq=False)
class _Camera:
    """One camera that is published, or to be."""

    name: str
    task: SupervisedTask
    connection: RTCPeerConnection | None = None
    is_up: bool = False
    trouble: str = ""


class WhipSfu:
    """Publishes cameras to an SFU and passes viewers' offers on; for the event loop only.

    Args:
        config: its addresses and bearer token.
        cameras: what is there to publish.
        ice: the STUN and TURN servers.
        supervisor: logs, counts and shows failures.
    """

    kind = "whip"

    def __init__(
        self, config: SfuConfig, *, cameras: Published, ice: IceServers, supervisor: Supervisor
    ) -> None:
        self._config = config
        self._cameras = cameras
        self._ice = ice
        self._supervisor = supervisor
        self._work = supervisor.watch("sfu viewers")
        self._task: SupervisedTask | None = None
        self._published: dict[PacketHub, _Camera] = {}
        self._watched: dict[str, tuple[str, str]] = {}  # camera and resource of each
        self.on_back: Callable[[], None] = lambda: None  # not called
        self._n_published = self._losses = self._failures = 0
        self._http = httpx2.AsyncClient(timeout=HTTP_S, trust_env=False)
        self._name = f"the SFU at {origin(parse_http_address(self._url(config.url, 'camera')))}"

    def start(self) -> None:
        """Publish the cameras, and those that are added."""
        self._task = self._supervisor.task("sfu", self._run)

    async def stop(self) -> None:
        """End every publication."""
        if self._task is not None:
            await self._task.stop()
        await asyncio.gather(*(each.task.stop() for each in self._published.values()))
        await self._http.aclose()

    @property
    def is_there(self) -> bool:
        """Whether it has a camera now."""
        return any(each.is_up for each in self._published.values())

    def status(self) -> SfuStatus:
        """Return its state."""
        cameras = list(self._published.values())
        return SfuStatus(
            kind=self.kind,
            is_there=self.is_there,
            streams=sum(each.is_up for each in cameras),
            viewers=len(self._watched),
            published=self._n_published,
            losses=self._losses,
            failures=self._failures,
            dropped=0,
            trouble="; ".join(
                f"camera {each.name} {each.trouble}" for each in cameras if each.trouble
            ),
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
        """Return the SFU's answer to a viewer's offer; None where facewire must serve it.

        The SFU does not say when a viewer is gone, so `on_close` is never called.
        """
        published = self._published.get(hub)
        is_up = published is not None and published.is_up
        if small or not self._config.watch_url or not is_up or find_video(offer_sdp) is None:
            return None
        try:
            url = self._url(self._config.watch_url, camera)
            answer, resource = await self._exchange(camera, url, offer_sdp)
        except SfuError as error:
            self._failures += 1
            logger.warning("%s: a viewer of %s is served without it: %s", self._name, camera, error)
            return None
        peer_id = secrets.token_urlsafe(16)
        self._watched[peer_id] = camera, resource
        while len(self._watched) > self._config.max_viewers:
            self._watched.pop(next(iter(self._watched)))
        return Answer(answer, peer_id, via=self.kind)

    async def close(self, peer_id: str) -> None:
        """End a viewer's connection; does nothing if it is not one of these."""
        if watched := self._watched.pop(peer_id, None):
            await self._delete(*watched)

    @staticmethod
    def _url(template: str, camera: str) -> str:
        return template.replace(CAMERA, camera)

    async def _run(self) -> None:
        while True:
            wanted = {
                hub: name
                for name, hub in self._cameras()
                if not self._config.cameras or name in self._config.cameras
            }
            for hub in self._published.keys() - wanted.keys():
                await self._published.pop(hub).task.stop()
            for hub, name in wanted.items():
                camera = self._published.get(hub)
                if camera is not None and camera.name != name:  # renamed: another address
                    await self._published.pop(hub).task.stop()
                    camera = None
                if camera is None:
                    self._publish(name, hub)
            await asyncio.sleep(CHECK_S)

    def _publish(self, name: str, hub: PacketHub) -> None:
        async def keep() -> None:
            await self._keep(self._published[hub], hub)

        task = self._supervisor.task(f"sfu-{name}", keep)
        self._published[hub] = _Camera(name, task)

    async def _keep(self, camera: _Camera, hub: PacketHub) -> None:
        """Publish one camera, again and again, until it is removed."""
        delay_s = FIRST_DELAY_S
        while True:
            try:
                await self._once(camera, hub)
            except HubClosed:
                return
            except SfuError as error:
                reason = str(error)
                self._failures += 1
            else:
                reason = "was lost"
                self._losses += 1
                delay_s = FIRST_DELAY_S
            finally:
                camera.is_up = False
            if reason != camera.trouble:
                logger.warning("%s: camera %s %s", self._name, camera.name, reason)
                camera.trouble = reason
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    async def _once(self, camera: _Camera, hub: PacketHub) -> None:
        """Publish a camera until the connection ends; see `_exchange` for errors."""
        subscription = hub.subscribe(Feed(Codec.H264))
        connection = RTCPeerConnection(RTCConfiguration(iceServers=ice_servers(self._ice)))
        camera.connection = connection
        changed = asyncio.Event()
        connection.on("connectionstatechange", changed.set)
        track = HubTrack(subscription)
        track.on("ended", changed.set)
        resource, watching = "", None
        try:
            transceiver = connection.addTransceiver(track, "sendonly")
            transceiver.setCodecPreferences(preferences(Codec.H264))
            # aiortc reports lost frames only to its own encoder, by this private name.
            transceiver.sender._send_keyframe = subscription.request_keyframe  # type: ignore[method-assign]
            await connection.setLocalDescription(await connection.createOffer())
            url = self._url(self._config.url, camera.name)
            answer, resource = await self._exchange(
                camera.name, url, connection.localDescription.sdp
            )
            try:
                await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            except (
                *DAMAGE,
                InternalError,
                InvalidAccessError,
                InvalidStateError,
                OperationError,
            ):
                raise SfuError("got an answer that cannot be used") from None
            await self._connected(connection, changed)
            camera.is_up, camera.trouble = True, ""
            self._n_published += 1
            logger.info("%s: camera %s is published", self._name, camera.name)
            watching = self._work.task(look_after(camera.name, transceiver.sender, subscription))
            watching.add_done_callback(lambda _: changed.set())
            while connection.connectionState == "connected" and not watching.done():
                changed.clear()
                await changed.wait()
                if hub.is_closed:
                    raise HubClosed
        finally:
            if watching is not None:
                watching.cancel()
            track.stop()
            await connection.close()
            await self._delete(camera.name, resource)

    async def _connected(self, connection: RTCPeerConnection, changed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while connection.connectionState != "connected":
                    if connection.connectionState in ("failed", "closed"):
                        raise SfuError("cannot be sent: no route by UDP")
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise SfuError("cannot be sent: no route by UDP") from None

    def _authorization(self, camera: str) -> dict[str, str]:
        secret = self._config.camera_secrets.get(camera, self._config.secret)
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    async def _exchange(self, camera: str, url: str, offer_sdp: str) -> tuple[str, str]:
        """Post an offer; return the answer and the address to delete, empty if there is none.

        Raises:
            SfuError: if the SFU does not answer, or refuses.
        """
        try:
            response = await self._http.post(
                url,
                content=offer_sdp.encode(),
                headers={"Content-Type": SDP, **self._authorization(camera)},
            )
        except (httpx2.HTTPError, OSError) as error:
            # Not chained: its text may contain the address, which can hold a key.
            late = isinstance(error, httpx2.TimeoutException)
            reason = "no answer in time" if late else "the SFU cannot be reached"
            raise SfuError(f"is not taken: {reason}") from None
        if response.status_code != 201:
            raise SfuError(f"is not taken: the SFU answers with status {response.status_code}")
        location = response.headers.get("location", "")
        return response.text, urljoin(url, location) if location else ""

    async def _delete(self, camera: str, resource: str) -> None:
        if not resource:
            return
        with suppress(httpx2.HTTPError, OSError, httpx2.InvalidURL):
            await self._http.delete(resource, headers=self._authorization(camera))
