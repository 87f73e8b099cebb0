"""A service without cameras, threads or WebRTC: for tests of what is said over HTTP."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gallery import Gallery, Identity, Match
from recognizer import Face
from stream.cameras.camera import CameraState, CameraStatus
from stream.config import CameraConfig
from stream.enrollment.doubts import Doubts
from stream.errors import CameraExistsError, SignalingError, UnknownCameraError, UnknownTrackError
from stream.events.broadcast import Broadcast, Subscription
from stream.events.log import EventLog, LoggedEvent
from stream.frames import Frame, FrameResult, Track, TrackState
from stream.ice import IceServers
from stream.integrations.webhooks import Webhook
from stream.metrics.figures import Figures
from stream.metrics.windows import Percentiles
from stream.supervisor import Supervisor
from stream.webrtc.peers import Answer
from tests.fakes import LIMITS, FakeRecognizer, FakeWorld


class FakePeers:
    """Answers each offer that is not "bad", and remembers who is there."""

    def __init__(self) -> None:
        self.ice = IceServers(('turn:me:s"e\\cret@turn.example.org',), wall_clock=time.time)
        self.open: dict[str, Callable[[], None]] = {}
        self.closed: list[str] = []

    def __len__(self) -> int:
        return len(self.open)

    async def watch(
        self,
        sdp: str,
        hub: object,
        on_close: Callable[[], None] = lambda: None,
        *,
        raw: bool = False,
        small: bool = False,
        client: object = None,
    ) -> Answer:
        return self._answer(sdp, on_close)

    async def receive(
        self,
        sdp: str,
        on_frame: object,
        hub: object,
        on_close: Callable[[], None] = lambda: None,
        *,
        client: object = None,
    ) -> Answer:
        return self._answer(sdp, on_close)

    async def close(self, peer_id: str) -> None:
        if (on_close := self.open.pop(peer_id, None)) is not None:
            self.closed.append(peer_id)
            on_close()

    def _answer(self, sdp: str, on_close: Callable[[], None]) -> Answer:
        if sdp == "bad":
            raise SignalingError("the offer cannot be answered")
        peer_id = f"peer{len(self.open) + len(self.closed)}"
        self.open[peer_id] = on_close
        return Answer("v=0 answer", peer_id)


class FakeCamera:
    """A camera that has a snapshot, or none."""

    def __init__(self, status: CameraStatus, jpeg: bytes | None) -> None:
        self.state = status
        self.config = status.config
        self.hub = object()
        self.latest: FrameResult | None = None
        self._jpeg = jpeg

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        return self._jpeg


class FakePushCamera:
    """A camera that a browser brings."""

    def __init__(self, service: "FakeService", name: str) -> None:
        self.hub = object()
        self._service = service
        self._name = name

    def on_frame(self, frame: object) -> None:
        """Take a frame."""

    async def close(self) -> None:
        self._service.by_name.pop(self._name, None)


class SeeingRecognizer(FakeRecognizer):
    """A fake recognizer that also looks at single pictures."""

    def recognize(self, images: list[Any], *, any_way_up: bool = False) -> list[tuple[Face, ...]]:
        found = []
        for image in images:
            (detections,) = self.detect([image])
            crops = self.align(image, detections.landmarks)
            embeddings = self.embed(crops) if len(crops) else ()
            found.append(
                tuple(
                    Face(box, points, float(score), crop, embedding, None, None)
                    for box, points, score, crop, embedding in zip(
                        detections.boxes,
                        detections.landmarks,
                        detections.scores,
                        crops,
                        embeddings,
                        strict=True,
                    )
                )
            )
        return found


class FakeService:
    """What `stream.service.Service` is to the server, over a real gallery and event log."""

    def __init__(self, gallery: Gallery, event_log: EventLog) -> None:
        self.gallery = gallery
        self.event_log = event_log
        self.world = FakeWorld()
        self.recognizer = SeeingRecognizer(self.world)
        self.peers = FakePeers()
        self.threshold, self.margin = 0.4, 0.05
        self.limits = LIMITS
        self.is_demo = True
        self.is_recognising = True
        self.ticks, self.tick_failures = 7, 0
        self.figures = Figures()
        self.supervisor = Supervisor(clock=time.monotonic)
        self.leaving = self.supervisor.watch("cameras that leave")
        self.webhooks: list[Webhook] = []
        self.lost_events = 0
        self.complaints: list[str] = []
        self.n_gallery_changes = 0
        self.doubts = Doubts()
        self.by_name: dict[str, FakeCamera] = {}
        self.events: Broadcast[LoggedEvent] = Broadcast()
        self.add(status("door"), jpeg=b"jpeg of door")

    def add(self, state: CameraStatus, jpeg: bytes | None = None) -> None:
        self.by_name[state.name] = FakeCamera(state, jpeg)

    def show_faces(self, camera: str, tracks: tuple[Track, ...]) -> None:
        frame = Frame(camera, 3, 10.0, np.zeros((720, 1280, 3), np.uint8))
        self.camera(camera).latest = FrameResult(frame, tracks, (), {})

    def cameras(self) -> list[CameraStatus]:
        return [camera.state for camera in self.by_name.values()]

    def camera(self, name: str) -> FakeCamera:
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownCameraError(name) from None

    def hub(self, name: str) -> object:
        return self.camera(name).hub

    def tracks(self, name: str) -> FrameResult | None:
        return self.camera(name).latest

    async def add_camera(self, config: CameraConfig) -> None:
        if config.name in self.by_name:
            raise CameraExistsError(config.name)
        self.add(status(config.name, url=config.url))

    async def change_camera(self, name: str, config: CameraConfig) -> None:
        camera = self.camera(name)
        if config.name != name and config.name in self.by_name:
            raise CameraExistsError(config.name)
        camera.config = config
        camera.state = replace(camera.state, config=config)
        del self.by_name[name]
        self.by_name[config.name] = camera

    async def remove_camera(self, name: str) -> None:
        self.camera(name)
        del self.by_name[name]

    async def push_camera(self, name: str) -> FakePushCamera:
        if name in self.by_name:
            raise CameraExistsError(name)
        self.add(status(name, url=f"browser:{name}"))
        return FakePushCamera(self, name)

    async def name_track(
        self, camera: str, track_id: str, name: str, *, force: bool = False
    ) -> Identity:
        result = self.camera(camera).latest
        if result is None or track_id not in {track.track_id for track in result.tracks}:
            raise UnknownTrackError(track_id)
        return Identity("id-of-" + name, name)

    async def run_inference(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def read_people(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def change_people(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self.gallery.known_revision
        result = function(*args, **kwargs)
        self.n_gallery_changes += self.gallery.known_revision != before
        return result

    async def run_photos(self, function: Callable[..., Any]) -> Any:
        return function(self.recognizer)

    async def run_events(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def gallery_changed(self) -> None:
        self.n_gallery_changes += 1

    def subscribe_events(self) -> Subscription[LoggedEvent]:
        return self.events.subscribe()

    def waiting(self) -> dict[str, int]:
        return {"frames": 1, "calls": 0, "events": 2}

    def notices(self) -> list[str]:
        return list(self.event_log.notices())

    def problems(self) -> list[str]:
        return self.complaints


def status(
    name: str, *, url: str = "rtsp://user:***@192.0.2.7/live", reason: str = ""
) -> CameraStatus:
    """Return a camera that is live, or failing where a reason is given."""
    return CameraStatus(
        config=CameraConfig(name=name, url=url),
        is_pushed=False,
        state=CameraState.FAILING if reason else CameraState.LIVE,
        since_s=12.34,
        reason=reason,
        width=1280,
        height=720,
        fps_in=25.04,
        fps_out=24.96,
        captured=100,
        encoded=90,
        dropped=3,
        encoder_dropped=1,
        viewer_dropped=6,
        damaged=5,
        encoder_waiting=2,
        viewers=2,
        reconnects=4,
        latency_ms=Percentiles(30.0, 51.26, 90),
    )


def track(number: int, match: Match | None = None) -> Track:
    """Return a face that has been seen for two seconds."""
    return Track(
        track_id=f"run-{number}",
        box=np.array([10.04, 20, 110, 140], np.float32),
        score=0.9,
        first_seen=8.0,
        last_seen=10.0,
        state=TrackState.KNOWN if match else TrackState.UNKNOWN,
        match=match,
    )
