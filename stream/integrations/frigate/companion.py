"""Gives Frigate's events the names of people, as soon as a track of ours has one.

Frigate announces over MQTT whom it follows. A thread of its own matches these people to the tracks
of the same camera, and another one writes the names over Frigate's API, with retries. Neither holds
up frames: the first only reads each camera's newest result, and all queues are bounded.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stream.config import FrigateConfig
from stream.frames import FrameResult, TrackState
from stream.integrations.delivery import retry_delay
from stream.integrations.frigate.api import FrigateApi, FrigateLoginError
from stream.integrations.frigate.matching import Box, Face, Matcher, Named, rotated
from stream.integrations.frigate.messages import PersonEvent, detect_sizes, parse_event
from stream.integrations.http_api import HttpApiError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""Seconds between two looks at the newest results: what a name may be late by."""

MAX_MESSAGES = 1000
"""Messages that wait; a busy Frigate sends some ten a second."""

MAX_WRITES = 200
"""Names that wait for Frigate, one of each event."""

MAX_TRIES = 8
FIRST_DELAY_S = 0.5

LONGEST_DELAY_S = 30.0
"""Between two tries to write a name."""

LOGIN_DELAY_S = 60.0
"""Seconds after a refused login: Frigate limits how often one may fail."""

DEADLINE_S = 10.0
"""Seconds for one request."""

SIZES_S = 60.0
"""Seconds between two questions for cameras that Frigate's configuration does not have."""

MAX_LABEL = 100
"""Characters of a sub label; Frigate refuses longer ones."""

MAX_UNSIZED = 100
"""Messages of cameras whose size is not known yet."""

LEAST_SCORE = 0.01


class Watched(Protocol):
    """A camera of ours, as far as it is used here."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def latest(self) -> FrameResult | None:
        """Its newest result; None where it has none."""


@dataclass(frozen=True, slots=True)
class FrigateStatus:
    """State of the companion.

    Attributes:
        origin: scheme, host and port of Frigate.
        received: messages about people.
        damaged: messages that could not be read.
        dropped: messages and names dropped because too many waited.
        written: names that Frigate accepted.
        failures: tries that failed.
        given_up: names that were refused or tried too often.
        waiting: names that wait.
        trouble: why the last try failed, one line; empty if it did not.
    """

    origin: str
    received: int
    damaged: int
    dropped: int
    written: int
    failures: int
    given_up: int
    waiting: int
    trouble: str


@dataclass(slots=True)
class _Write:
    named: Named
    due: float
    n_tries: int = 0


class FrigateCompanion:
    """Writes names of people into Frigate's events.

    Args:
        config: the table [frigate]; its url is set.
        cameras: ours.
        score: converts a similarity, cosine, to a score of 0 to 1.
        supervisor: restarts the threads after a failure.
        clock: seconds, monotonic, of the frames.
        wall_clock: seconds since 1970.
        first_delay_s: seconds from the first try to the second.
    """

    def __init__(
        self,
        config: FrigateConfig,
        *,
        cameras: Iterable[Watched],
        score: Callable[[float], float],
        supervisor: Supervisor,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self._api = FrigateApi(
            config.url,
            user=config.user,
            password=config.password,
            token=config.token,
            verify_tls=config.verify_tls,
            deadline_s=DEADLINE_S,
        )
        self.topic = f"{config.topic}/events"
        self._ours: Mapping[str, str] = config.cameras
        self._cameras = cameras
        self._score = score
        self._clock = clock
        self._wall_clock = wall_clock
        self._first_delay_s = first_delay_s
        self._matcher = Matcher(config.within_s)
        self._messages: deque[bytes] = deque()
        self._unsized: deque[PersonEvent] = deque(maxlen=MAX_UNSIZED)
        self._sizes: Mapping[str, tuple[int, int]] = {}
        self._wants_sizes = True
        self._sizes_due = 0.0
        self._login_due = 0.0
        self._seqs: dict[str, tuple[int, float]] = {}
        self._writes: dict[str, _Write] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._received = self._damaged = self._dropped = 0
        self._written = self._failures = self._given_up = 0
        self._trouble = ""
        self._matching = supervisor.thread("frigate", self._match_all)
        self._writing = supervisor.thread("frigate-names", self._write_all)

    def start(self) -> None:
        """Start the threads; once."""
        self._matching.start()
        self._writing.start()

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message of the broker; from any thread, returns at once."""
        with self._changed:
            if len(self._messages) >= MAX_MESSAGES:
                self._messages.popleft()
                self._dropped += 1
            self._messages.append(payload)
            self._changed.notify_all()

    def status(self) -> FrigateStatus:
        """Return the state."""
        return FrigateStatus(
            origin=self._api.origin,
            received=self._received,
            damaged=self._damaged,
            dropped=self._dropped,
            written=self._written,
            failures=self._failures,
            given_up=self._given_up,
            waiting=len(self._writes),
            trouble=self._trouble,
        )

    def stop(self) -> None:
        """Ask the threads to end after the current request."""
        self._stopping.set()
        self._matching.stop()
        self._writing.stop()
        with self._changed:
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads' end."""
        deadline = time.monotonic() + timeout_s
        for thread in (self._matching, self._writing):
            thread.join(max(0.0, deadline - time.monotonic()))
        if not self._writing.is_alive:
            self._api.close()

    def _match_all(self) -> None:
        """Match messages and frames until `stop`."""
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._messages or self._stopping.is_set(), timeout=POLL_S
                )
                messages = list(self._messages)
                self._messages.clear()
            self._look()
            for payload in messages:
                self._take(payload)
                self._take_sized()
            self._take_sized()  # whose size has come meanwhile
            if self._matcher.n_events:
                self._queue(self._matcher.names(self._wall_clock()))

    def _take(self, payload: bytes) -> None:
        try:
            event = parse_event(payload)
        except ValueError:
            self._damaged += 1
            return
        if event is not None:
            self._received += 1
            self._dropped += len(self._unsized) == MAX_UNSIZED
            self._unsized.append(event)

    def _take_sized(self) -> None:
        """Match the messages of cameras whose size is known, and ask for that of others."""
        for _ in range(len(self._unsized)):
            event = self._unsized.popleft()
            size = self._sizes.get(event.camera)
            camera = self._ours.get(event.camera, event.camera)
            watched = next((each for each in self._cameras if each.name == camera), None)
            if watched is None:
                continue  # a camera that only Frigate has
            if size is None:
                self._unsized.append(event)
                with self._changed:
                    self._wants_sizes = True
                    self._changed.notify_all()
                continue
            latest = watched.latest
            turned = latest.frame.rotation if latest is not None else 0
            self._matcher.receive(event, camera, _part(event.box, size, turned), self._wall_clock())

    def _look(self) -> None:
        """Take the newest result of each camera."""
        now, wall_now = self._clock(), self._wall_clock()
        for camera in self._cameras:
            result = camera.latest
            if result is None:
                continue
            frame = result.frame
            which = frame.seq, frame.captured_at
            if self._seqs.get(camera.name) != which:
                self._seqs[camera.name] = which
                at = wall_now - (now - frame.captured_at)
                self._matcher.see(camera.name, at, _faces(result))

    def _queue(self, names: Iterable[Named]) -> None:
        """Queue names for Frigate; of an event only the newest one."""
        with self._changed:
            for named in names:
                self._writes.pop(named.event_id, None)
                if len(self._writes) >= MAX_WRITES:
                    del self._writes[next(iter(self._writes))]
                    self._dropped += 1
                self._writes[named.event_id] = _Write(named, due=self._clock())
                self._changed.notify_all()

    def _write_all(self) -> None:
        """Write names until `stop`."""
        while not self._stopping.is_set():
            with self._changed:
                write, wants_sizes, wait_s = self._next()
                if write is None and not wants_sizes:
                    self._changed.wait(wait_s)
                    continue
            if wants_sizes:
                self._ask_sizes()
            if write is not None:
                self._write(write)

    def _next(self) -> tuple[_Write | None, bool, float | None]:
        """Return the name that is due, whether sizes are, and seconds until one is."""
        now = self._clock()
        write = min(self._writes.values(), key=lambda each: each.due, default=None)
        waits = [] if write is None else [max(write.due, self._login_due) - now]
        sizes_due = max(self._sizes_due, self._login_due)
        if self._wants_sizes:
            waits.append(sizes_due - now)
        if write is not None and max(write.due, self._login_due) > now:
            write = None
        return write, self._wants_sizes and sizes_due <= now, min(waits, default=None)

    def _ask_sizes(self) -> None:
        """Ask Frigate for the sizes of its cameras."""
        with self._changed:
            self._wants_sizes = False
        try:
            answer = self._api.request("GET", "api", "config")
        except HttpApiError as error:
            self._failed(str(error))
            with self._changed:
                self._wants_sizes, self._sizes_due = True, self._clock() + 2.0
                if isinstance(error, FrigateLoginError):
                    self._login_due = self._clock() + LOGIN_DELAY_S
            return
        sizes = detect_sizes(answer.json()) if answer.status == 200 else {}
        if sizes:
            self._succeeded()
        else:
            self._failed(f"{self._api.origin} answers {answer.status} without cameras")
        self._sizes = sizes or self._sizes
        self._sizes_due = self._clock() + SIZES_S
        with self._changed:
            self._changed.notify_all()

    def _write(self, write: _Write) -> None:
        """Write one name; if it fails, it waits for the next try."""
        named = write.named
        score = max(LEAST_SCORE, min(1.0, self._score(named.similarity)))
        content = {
            "subLabel": named.name[:MAX_LABEL],
            "subLabelScore": round(score, 2),
            "camera": named.camera,
        }
        trouble, delay_s = "", retry_delay(write.n_tries, first_s=self._first_delay_s)
        is_final = is_away = False
        try:
            path = ("api", "events", named.event_id, "sub_label")
            answer = self._api.request("POST", *path, content=content)
        except FrigateLoginError as error:
            trouble, is_away = str(error), True
            self._login_due = self._clock() + LOGIN_DELAY_S
        except HttpApiError as error:
            trouble, is_away = str(error), error.is_away
        else:
            if not 200 <= answer.status < 300:
                trouble = f"{self._api.origin} answers {answer.status} to a sub label"
                # 404: Frigate may not have stored the event yet.
                is_final = 400 <= answer.status < 500 and answer.status not in {404, 408, 429}
        write.n_tries += 1
        with self._changed:
            is_newest = self._writes.get(named.event_id) is write
            # While Frigate is away, names wait, MAX_WRITES at most.
            is_final = is_final or (write.n_tries >= MAX_TRIES and not is_away)
            if is_newest and (not trouble or is_final):
                del self._writes[named.event_id]
                self._given_up += bool(trouble)
            write.due = self._clock() + min(delay_s, LONGEST_DELAY_S)
        if trouble:
            self._failed(trouble)
        else:
            self._written += 1
            self._succeeded()

    def _failed(self, trouble: str) -> None:
        self._failures += 1
        if trouble != self._trouble:
            logger.warning("frigate: %s", trouble)
        self._trouble = trouble

    def _succeeded(self) -> None:
        if self._trouble:
            logger.info("frigate: %s answers again", self._api.origin)
        self._trouble = ""


def _part(box: Box, size: tuple[int, int], degrees: int) -> Box:
    """Return a box of Frigate's in parts of our frame, which may be rotated."""
    width, height = size
    x1, y1, x2, y2 = box
    return rotated((x1 / width, y1 / height, x2 / width, y2 / height), degrees)


def _faces(result: FrameResult) -> list[Face]:
    """Return the faces of a frame, in parts of it."""
    height, width = result.frame.size
    faces = []
    for track in result.tracks:
        x1, y1, x2, y2 = (float(each) for each in track.box)
        is_known = track.state is TrackState.KNOWN and track.match is not None
        faces.append(
            Face(
                track.track_id,
                (x1 / width, y1 / height, x2 / width, y2 / height),
                track.match.identity.name if is_known and track.match is not None else "",
                track.match.similarity if is_known and track.match is not None else 0.0,
            )
        )
    return faces
