"""Publishes the state of cameras, people and visitors, in a thread of its own.

A few times a second it looks at the cameras' last frames and at the event log, works out all that
is to be retained, and sets what differs. So nothing of it is in a frame's way, and a camera, person
or visitor that is gone leaves nothing behind: its topics are no longer in that state.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from gallery import Gallery, GalleryError
from stream.cameras.camera import CameraState
from stream.cameras.host import HostedCamera
from stream.cameras.registry import Cameras
from stream.config import MqttConfig
from stream.errors import EventLogError, StreamError
from stream.frames import Track
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.mqtt.past import LastSeen, Past
from stream.integrations.mqtt.payloads import (
    CameraView,
    Home,
    Payload,
    Who,
    camera_payloads,
    service_discovery,
    who_payloads,
)
from stream.integrations.mqtt.presence import CameraPresence, iso
from stream.schemas.faces import similarity
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

PERIOD_S = 0.25
"""Seconds between two looks at the cameras."""

PAST_S = 1.0
"""Shortest time between two readings of visitors and faces, seconds."""

RECONCILED_S = 3.0
"""Seconds after a change of people in which the event log follows it."""


@dataclass(slots=True)
class _Seen:
    """When and where a person or visitor was seen last; seconds, monotonic clock."""

    at: float = float("-inf")
    camera: str = ""


class MqttPublisher:
    """Publishes the state of a service.

    Args:
        config: what is published.
        home: the shared parts of topics and payloads.
        client: started by this publisher, once it knows the state.
        cameras: of the service.
        gallery: of the service.
        past: of the event log; owned and closed by this publisher.
        has_visitors: whether visitors are kept.
        is_ignored: whether a stay is of an ignored visitor.
        absence_s: seconds without a face until it counts as gone.
        loop: in which cameras are switched.
        supervisor: restarts the thread after a failure.
        clock: seconds, monotonic, of the tracks.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        config: MqttConfig,
        home: Home,
        client: MqttClient,
        *,
        cameras: Cameras,
        gallery: Gallery,
        past: Past,
        has_visitors: Callable[[], bool],
        is_ignored: Callable[[str], bool],
        absence_s: float,
        loop: asyncio.AbstractEventLoop,
        supervisor: Supervisor,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._home = home
        self._client = client
        self._cameras = cameras
        self._gallery = gallery
        self._past = past
        self._has_visitors = has_visitors
        self._loop = loop
        self._clock = clock
        self._wall_clock = wall_clock
        self._new_presence = partial(
            CameraPresence, absence_s=absence_s, is_ignored=is_ignored, wall_clock=wall_clock
        )
        self._presence: dict[str, CameraPresence] = {}
        self._revision = -1
        self._people_until = float("inf")
        self._people: dict[str, str] = {}
        self._last: dict[str, LastSeen] = {}
        self._seen: dict[str, _Seen] = {}
        self._newest_id = self._face_id = 0
        self._version = -1
        self._read_at = float("-inf")
        self._faces: dict[str, tuple[int, bytes] | None] = {}
        self._visitors: list[Who] = []
        self._stays: dict[str, str | None] = {}
        self._built: dict[CameraView | Who, dict[str, Payload]] = {}
        self._shown: dict[str, Payload] = {}
        self._trouble = ""
        self._has_started = False
        self._stopping = threading.Event()
        self._commands = supervisor.watch("switching cameras over MQTT")
        self._thread = supervisor.thread("mqtt-state", self._run)
        client.own(*home.owned())
        client.subscribe(f"{home.base}/cameras/+/enabled/set", self._switch_from)
        if home.prefix:
            # Home Assistant says so at its start.
            client.subscribe(f"{home.prefix}/status", self._home_assistant_is)

    def start(self) -> None:
        """Start the thread, and then the client."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stopping.set()
        self._thread.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)
        self._commands.close()
        if not self._thread.is_alive:
            self._past.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._publish(self._state())
            except (EventLogError, GalleryError) as error:
                # Busy or damaged: the service reports it; the state stays as it was.
                if str(error) != self._trouble:
                    logger.warning("mqtt: the state is not up to date: %s", error)
                self._trouble = str(error)
            else:
                self._trouble = ""
                if not self._has_started:
                    self._has_started = True
                    self._client.start()
            self._stopping.wait(PERIOD_S)

    def _publish(self, state: dict[str, Payload]) -> None:
        # Home Assistant first forgets an entity, then there is no state that it could miss.
        gone = self._shown.keys() - state.keys()
        for topic in sorted(gone, key=lambda topic: not topic.endswith("/config")):
            self._client.clear(topic)
        for topic, payload in state.items():
            if self._shown.get(topic) != payload:
                self._client.set(topic, payload)
        self._shown = state

    def _state(self) -> dict[str, Payload]:
        """Return all that is to be retained now, by topic."""
        now = self._clock()
        self._follow_people(now)
        self._follow_events(now)
        views, tracks = self._follow_cameras(now)
        self._follow_tracks(tracks, now)
        state: dict[str, Payload] = dict(service_discovery(self._home))
        built: dict[CameraView | Who, dict[str, Payload]] = {}
        people = [self._person(identity_id, now) for identity_id in self._people]
        shown: list[CameraView | Who] = [*views, *people, *self._present_visitors(now)]
        for each in shown:
            payloads = self._built.get(each)
            if payloads is None:
                payloads = (
                    camera_payloads(self._home, each)
                    if isinstance(each, CameraView)
                    else who_payloads(self._home, each)
                )
            built[each] = payloads
            state.update(payloads)
        self._built = built
        return state

    def _follow_people(self, now: float) -> None:
        """Read the people again after a change, and until the event log has followed it."""
        revision = self._gallery.known_revision
        if revision != self._revision:
            self._people_until = now + RECONCILED_S
        elif now >= self._people_until:
            self._people_until = float("inf")
        elif self._people_until == float("inf"):
            return
        limit = self._config.max_people
        people = self._gallery.people
        if people.count() <= limit:
            found = [summary.identity for summary in people.summaries()]
        else:
            found = list(people.present(self._past.seen_last(limit)).values())[:limit]
        newest_id = self._past.newest_id()
        last = self._past.newest_of(identity.identity_id for identity in found)
        self._people = {identity.identity_id: identity.name for identity in found}
        self._last, self._newest_id = last, newest_id
        kept = {*self._people, *(who.key for who in self._visitors)}
        self._seen = {key: each for key, each in self._seen.items() if key in kept}
        for each in last.values():
            self._note(each, now)
        self._revision = revision

    def _follow_events(self, now: float) -> None:
        """Read what is new in the event log, and find out what is gone."""
        version = self._past.version()
        if version == self._version:
            return
        is_due = now - self._read_at >= PAST_S
        for each in self._past.since(self._newest_id):
            self._newest_id = each.event_id
            if each.identity_id in self._people:
                self._last[each.identity_id] = each
                self._note(each, now)
            elif self._config.max_people:
                self._people_until = now  # of a large gallery, one who was not seen for long
        if not is_due:
            return
        self._version, self._read_at = version, now
        if not self._past.are_there([each.event_id for each in self._last.values()]):
            self._last = self._past.newest_of(self._people)
        if self._config.faces:
            self._follow_faces()
        self._visitors = self._read_visitors() if self._has_visitors() else []
        self._stays.clear()

    def _note(self, event: LastSeen, now: float) -> None:
        seen = self._seen.setdefault(event.identity_id, _Seen())
        at = now - (self._wall_clock() - event.at)
        if at >= seen.at:
            seen.at, seen.camera = at, event.camera

    def _follow_cameras(self, now: float) -> tuple[list[CameraView], list[tuple[str, Track]]]:
        """Return the cameras, and the faces in view of each."""
        views, tracks = [], []
        presence = {}
        for camera in self._cameras:
            own = self._presence.get(camera.name) or self._new_presence()
            presence[camera.name] = own
            latest = camera.latest
            shown = own.update(None if latest is None else latest.tracks, now)
            tracks += [(camera.name, track) for track in own.tracks]
            face = self._face(camera.name) if self._config.faces else None
            views.append(
                CameraView(
                    name=camera.name,
                    status=_status(camera),
                    is_enabled=camera.config.enabled,
                    people=shown.people,
                    n_unknown=shown.n_unknown,
                    count=shown.count,
                    at=shown.at,
                    face=face,
                    zones=tuple((zone, zone in own.zones) for zone in camera.config.zones),
                )
            )
        self._presence = presence
        return views, tracks

    def _follow_faces(self) -> None:
        """Forget the faces that are not the newest any more, or whose events were erased."""
        newest_id = self._past.newest_id()
        newer = self._past.cameras_with_faces(self._face_id)
        self._face_id = newest_id
        self._faces = {
            camera: face
            for camera, face in self._faces.items()
            if camera not in newer and (face is None or self._past.are_there([face[0]]))
        }

    def _face(self, camera: str) -> bytes | None:
        if camera not in self._faces:
            self._faces[camera] = self._past.face_of(camera)
        found = self._faces[camera]
        return None if found is None else found[1]

    def _follow_tracks(self, tracks: list[tuple[str, Track]], now: float) -> None:
        """Note who is in view now, and where: of several cameras the one that came last."""
        for camera, track in sorted(tracks, key=lambda each: each[1].first_seen):
            if track.match is not None:
                key: str | None = track.match.identity.identity_id
                if key not in self._people:
                    continue
            elif track.stay and self._visitors:
                if track.stay not in self._stays:
                    self._stays[track.stay] = self._past.visitor_of(track.stay)
                key = self._stays[track.stay]
            else:
                continue
            if key is not None:
                seen = self._seen.setdefault(key, _Seen())
                seen.at, seen.camera = now, camera

    def _person(self, identity_id: str, now: float) -> Who:
        seen, last = self._seen.get(identity_id, _NEVER), self._last.get(identity_id)
        return Who(
            kind="people",
            key=identity_id,
            name=self._people[identity_id],
            is_present=now - seen.at < self._config.away_s,
            camera=seen.camera,
            at="" if last is None else iso(last.at),
            similarity=(
                None if last is None or last.similarity is None else similarity(last.similarity)
            ),
            event_id=None if last is None else last.event_id,
        )

    def _read_visitors(self) -> list[Who]:
        found = []
        for visitor in self._past.visitors():
            last = self._past.last_of_visitor(visitor.visitor_id)
            found.append(
                Who(
                    kind="visitors",
                    key=visitor.visitor_id,
                    name=visitor.name,
                    is_present=False,
                    camera="" if last is None else last[1],
                    at=visitor.last_seen,
                    event_id=None if last is None else last[0],
                    visit_count=visitor.visit_count,
                )
            )
        return found

    def _present_visitors(self, now: float) -> list[Who]:
        found = []
        for who in self._visitors:
            seen = self._seen.get(who.key, _NEVER)
            is_present = now - seen.at < self._config.away_s
            found.append(replace(who, is_present=is_present, camera=seen.camera or who.camera))
        return found

    def _home_assistant_is(self, topic: str, payload: bytes) -> None:
        if payload == b"online":
            logger.info("mqtt: Home Assistant has started: everything is published again")
            self._client.resend()

    def _switch_from(self, topic: str, payload: bytes) -> None:
        name = topic.split("/")[-3]
        wanted = {b"ON": True, b"OFF": False}.get(payload)
        if wanted is None:
            logger.warning("mqtt: %s takes ON or OFF", topic)
            return
        self._loop.call_soon_threadsafe(
            lambda: self._commands.task(self._switch(name, is_on=wanted))
        )

    async def _switch(self, name: str, *, is_on: bool) -> None:
        try:
            config = self._cameras.get(name).config
            if config.enabled != is_on:
                await self._cameras.change(name, config.model_copy(update={"enabled": is_on}))
        except StreamError as error:
            logger.warning("mqtt: camera %s is not switched: %s", name, error)


_NEVER = _Seen()


def _status(camera: HostedCamera) -> str:
    state = camera.state
    if state is CameraState.OFF:
        return "disabled"
    return "online" if state is CameraState.LIVE else "offline"
