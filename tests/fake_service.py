"""A fake service without cameras, threads or WebRTC, for tests of the HTTP API."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np

from gallery import Gallery, Identity, Match
from recognizer import Face, Recognizer
from stream.cameras.camera import CameraState, CameraStatus
from stream.cameras.registry import Cameras
from stream.config import CameraConfig, NotifyConfig
from stream.enrollment.doubts import Doubts
from stream.enrollment.naming import Matching
from stream.errors import CameraExistsError, SignalingError, UnknownCameraError, UnknownTrackError
from stream.events.broadcast import Broadcast, Subscription
from stream.events.log import EventLog, LoggedEvent
from stream.events.recorder import Journal
from stream.events.search import SightingReader, SightingSearch
from stream.events.visits import VisitRules
from stream.frames import Frame, FrameResult, Track, TrackState
from stream.front.front import Front
from stream.ice import IceServers
from stream.integrations.frigate.companion import FrigateCompanion
from stream.integrations.mqtt.link import MqttLink
from stream.integrations.push.devices import Devices
from stream.integrations.rules.engine import Rules
from stream.integrations.status import IntegrationStatus
from stream.integrations.webhooks import Webhook
from stream.metrics.figures import Figures
from stream.metrics.windows import Percentiles
from stream.naming import FaceNaming
from stream.sfu.viewing import Viewing
from stream.supervisor import Supervisor
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook
from stream.visitors.changes import VisitorChanges
from stream.webrtc.peers import Answer, Peers
from stream.workers.balance import Rebalancer
from stream.workers.growth import Growth
from tests.fakes import FakeRecognizer, FakeWorld

P = ParamSpec("P")
T = TypeVar("T")


class FakePeers:
    """Answers each offer that is not "bad", and records the open peers."""

    def __init__(self) -> None:
        self.ice = IceServers(('turn:me:s"e\\cret@turn.example.org',), wall_clock=time.time)
        self.open: dict[str, Callable[[], None]] = {}
        self.closed: list[str] = []

    def __len__(self) -> int:
        return len(self.open)

    async def watch(
        self,
        offer_sdp: str,
        hub: object,
        on_close: Callable[[], None] = lambda: None,
        *,
        raw: bool = False,
        small: bool = False,
        client: object = None,
    ) -> Answer:
        return self._answer(offer_sdp, on_close)

    async def receive(
        self,
        offer_sdp: str,
        on_frame: object,
        hub: object,
        on_close: Callable[[], None] = lambda: None,
        *,
        client: object = None,
    ) -> Answer:
        return self._answer(offer_sdp, on_close)

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


class FakeVideo:
    """A camera's video that sends nothing."""

    def __init__(self) -> None:
        self.hub = object()


class FakeCamera:
    """A camera with or without a snapshot."""

    def __init__(self, status: CameraStatus, jpeg: bytes | None) -> None:
        self.shown = status
        self.config = status.config
        self.video = FakeVideo()
        self.latest: FrameResult | None = None
        self._jpeg = jpeg

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        return self._jpeg


class FakePushCamera:
    """A camera sent by a browser."""

    def __init__(self, cameras: "FakeCameras", name: str) -> None:
        self.hub = object()
        self.on_replaced: Callable[[], object] = lambda: None
        self._cameras = cameras
        self._name = name

    def on_frame(self, frame: object) -> None:
        """Receive a frame."""

    async def close(self) -> None:
        self._cameras.by_name.pop(self._name, None)


class SeeingRecognizer(FakeRecognizer):
    """A fake recognizer that also recognizes single images."""

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


class FakeCameras:
    """Cameras without threads."""

    def __init__(self) -> None:
        self.by_name: dict[str, FakeCamera] = {}

    def statuses(self) -> list[CameraStatus]:
        return [camera.shown for camera in self.by_name.values()]

    def get(self, name: str) -> FakeCamera:
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownCameraError(name) from None

    async def add(self, config: CameraConfig) -> None:
        if config.name in self.by_name:
            raise CameraExistsError(config.name)
        self.put(status(config.name, url=config.url))

    async def change(self, name: str, config: CameraConfig) -> None:
        camera = self.get(name)
        if config.name != name and config.name in self.by_name:
            raise CameraExistsError(config.name)
        camera.config = config
        camera.shown = replace(camera.shown, config=config)
        del self.by_name[name]
        self.by_name[config.name] = camera

    async def remove(self, name: str) -> None:
        self.get(name)
        del self.by_name[name]

    async def push(self, name: str) -> FakePushCamera:
        if name in self.by_name:
            raise CameraExistsError(name)
        self.put(status(name, url=f"browser:{name}"))
        return FakePushCamera(self, name)

    def put(self, state: CameraStatus, jpeg: bytes | None = None) -> None:
        self.by_name[state.name] = FakeCamera(state, jpeg)

    def show_faces(self, camera: str, tracks: tuple[Track, ...]) -> None:
        frame = Frame(camera, 3, 10.0, np.zeros((720, 1280, 3), np.uint8))
        self.get(camera).latest = FrameResult(frame, tracks, (), {})


class FakeInference:
    """Runs calls at once, in the caller's thread."""

    def __init__(self) -> None:
        self.ticks, self.failures = 7, 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class FakeGalleryWorker:
    """Runs calls of the gallery at once, and counts its changes."""

    def __init__(self, gallery: Gallery) -> None:
        self.n_changes = 0
        self.n_checked, self.n_equal = 8, 7
        self._gallery = gallery

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        before = self._gallery.known_revision
        result = function(*args, **kwargs)
        self.n_changes += self._gallery.known_revision != before
        return result

    async def notify(self) -> None:
        self.n_changes += 1


class FakePhotoWorker:
    """Runs work on photos at once, with one recognizer."""

    def __init__(self, recognizer: SeeingRecognizer | Recognizer) -> None:
        self._recognizer = recognizer

    async def run(self, function: Callable[[Recognizer], T]) -> T:
        return function(cast(Recognizer, self._recognizer))


class FakeJournal:
    """Runs calls of the event log at once; events are published by hand."""

    def __init__(self) -> None:
        self.lost = 0
        self.events: Broadcast[LoggedEvent] = Broadcast()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    def subscribe(self) -> Subscription[LoggedEvent]:
        return self.events.subscribe()


class FakeSearch:
    """Searches past sightings at once, in the caller's thread."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    @cached_property
    def search(self) -> SightingSearch:
        return SightingSearch(
            Path(self._gallery.store.place),
            model_id=self._gallery.model_id,
            embedding_size=self._gallery.embedding_size,
        )

    async def run(
        self,
        function: Callable[Concatenate[SightingSearch, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return function(self.search, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[SightingReader, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return function(self.search.reader(), *args, **kwargs)


class FakeNaming(FaceNaming):
    """Names past faces as the real one does, and faces in view without embedding them."""

    def __init__(self, cameras: FakeCameras, **rooms: Any) -> None:
        super().__init__(cameras=cast(Cameras, cameras), **rooms)
        self._in_view = cameras

    async def name_track(
        self, camera: str, track_id: str, name: str, *, force: bool = False
    ) -> Identity:
        result = self._in_view.get(camera).latest
        if result is None or track_id not in {track.track_id for track in result.tracks}:
            raise UnknownTrackError(track_id)
        return Identity("id-of-" + name, name)


class FakeService:
    """The service as used by the API, over a real gallery and event log.

    `tests/unit/stream/api/test_fake_service.py` compares it with `stream.service.Service`.
    """

    def __init__(self, gallery: Gallery, event_log: EventLog) -> None:
        self.world = FakeWorld()
        self.complaints: list[str] = []
        self.gallery = gallery
        self.event_log = event_log
        self.visit_rules = VisitRules(live_run="run")
        self.recognizer = SeeingRecognizer(self.world)
        self.cameras = FakeCameras()
        self.peers = FakePeers()
        self.inference = FakeInference()
        self.gallery_worker = FakeGalleryWorker(gallery)
        self.photo_worker = FakePhotoWorker(self.recognizer)
        self.journal = FakeJournal()
        self.matching = Matching(
            cast(Recognizer, self.recognizer), gallery, threshold=0.4, margin=0.05
        )
        self.visitors = VisitorBook(
            event_log,
            gallery,
            limits=JoinLimits.of(self.matching.limits),
            threshold=lambda: self.matching.threshold,
            is_enabled=False,
            keep_days=30.0,
        )
        self.visitor_changes = VisitorChanges(self.visitors, cast(Journal, self.journal))
        self.naming = FakeNaming(
            self.cameras,
            inference=self.inference,
            recognizer=self.recognizer,
            gallery=gallery,
            gallery_worker=self.gallery_worker,
            matching=self.matching,
            event_log=event_log,
            journal=self.journal,
            visitors=self.visitors,
            visitor_changes=self.visitor_changes,
        )
        self.figures = Figures()
        self.supervisor = Supervisor(clock=time.monotonic)
        self.viewing = Viewing(
            cast(Peers, self.peers), None, self.supervisor.watch("viewers of the SFU")
        )
        self.leaving = self.supervisor.watch("cameras that leave")
        self.rebalancer = Rebalancer(
            (), _move_nowhere, supervisor=self.supervisor, clock=time.monotonic
        )
        self.growth = Growth(
            cast(Cameras, self.cameras),
            (),
            wanted=lambda n_cameras: 0,
            add=lambda: None,
            supervisor=self.supervisor,
        )
        self.webhooks: list[Webhook] = []
        self.mqtt_link: MqttLink | None = None
        self.front: Front | None = None
        self.rules = Rules(
            event_log.directory,
            (),
            NotifyConfig(services={"phone": "json://127.0.0.1:9/"}, groups={"family": ("Ada",)}),
            zone=None,
            devices=Devices(
                event_log.directory, tokens={"admin": None, "viewer": None}, wall_clock=time.time
            ),
            broker=None,
            supervisor=self.supervisor,
            wall_clock=time.time,
        )
        self.frigate: FrigateCompanion | None = None
        self.linked: list[IntegrationStatus] = []
        self.doubts = Doubts()
        self.search = FakeSearch(gallery)
        self.is_demo = True
        self.is_recognizing = True
        self.cameras.put(status("door"), jpeg=b"jpeg of door")

    @property
    def ticks(self) -> int:
        return self.inference.ticks

    @property
    def failures(self) -> int:
        return self.inference.failures

    @property
    def worker_cpu_s(self) -> float:
        return 0.0

    def waiting(self) -> dict[str, int]:
        return {"frames": 1, "calls": 0, "events": 2}

    def integrations(self) -> list[IntegrationStatus]:
        return self.linked

    def notices(self) -> list[str]:
        return list(self.event_log.notices())

    def problems(self, *, is_admin: bool = True) -> list[str]:
        return self.complaints


async def _move_nowhere(camera: str, worker: int) -> None:
    """There is no worker to move a camera to."""


def status(
    name: str, *, url: str = "rtsp://user:***@192.0.2.7/live", reason: str = ""
) -> CameraStatus:
    """Return the status of a camera that is live, or failing if a reason is given."""
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
    """Return a track that has been visible for two seconds."""
    return Track(
        track_id=f"run-{number}",
        box=np.array([10.04, 20, 110, 140], np.float32),
        score=0.9,
        first_seen=8.0,
        last_seen=10.0,
        state=TrackState.KNOWN if match else TrackState.UNKNOWN,
        match=match,
    )
