"""Moves cameras from a worker that falls behind to one with time to spare, a few and seldom."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream.errors import UnknownCameraError, WorkerError
from stream.supervisor import SupervisedTask, Supervisor

logger = logging.getLogger(__name__)

CHECK_S = 1.0
"""How often the workers' loads are compared."""

SPAN_S, SPANS = 2.0, 5
"""A worker is behind if it was so in each of the last five spans of two seconds: a crowd that
passes, or another program that needs the processor for a moment, moves no camera."""

BEHIND = 0.05
"""Part of its frames, of all its cameras, that a worker loses while it is behind."""

SPARE = 0.01
"""Part of its frames that a worker may lose and still take a camera."""

FULL = 0.85
"""Seconds of recognition a second from which a worker takes no camera: what its own ones take
varies with the people in view."""

GAIN = 0.9
"""The busier of the two must be left with at most this part of what the first had: otherwise two
workers would send each other a camera in turn."""

PAUSE_S = 30.0
"""Between two moves: tracks and scans settle, and every move costs a second of a camera's video."""

REST_S = 600.0
"""How long a camera that was moved stays where it is."""


@dataclass(frozen=True, slots=True)
class CameraLoad:
    """What a camera took since its start in a worker.

    Attributes:
        captured: frames.
        dropped: of those, replaced before they were recognized.
        spent_s: time that its frames took in recognition, seconds.
    """

    captured: int
    dropped: int
    spent_s: float


Loads = Mapping[str, CameraLoad]
"""By camera."""

_Sample = tuple[float, Sequence[Loads | None]]
"""Seconds, and the loads of each worker; None while its recognition does not run."""


@dataclass(frozen=True, slots=True)
class Move:
    """A camera to move.

    Attributes:
        camera: its name.
        source: index of the worker that falls behind.
        target: index of the other one.
        lost: part of the frames that the first lost, in [0, 1].
    """

    camera: str
    source: int
    target: int
    lost: float


@dataclass(frozen=True, slots=True)
class _Span:
    """What a worker did in a span of time.

    Attributes:
        lost: part of its frames that it lost, in [0, 1].
        busy: seconds of recognition a second.
        needed: those that all its frames would have taken, by camera.
    """

    lost: float
    busy: float
    needed: Mapping[str, float]


@dataclass(slots=True)
class Balancer:
    """Decides which camera moves; pure, time is an argument.

    Attributes:
        moved_at: when each camera was moved, seconds.
    """

    moved_at: dict[str, float] = field(default_factory=dict)
    _samples: deque[_Sample] = field(default_factory=deque)
    _quiet_until: float = float("-inf")

    def observe(self, now: float, loads: Sequence[Loads | None]) -> Move | None:
        """Take the loads of all workers; return the camera to move, if any.

        Args:
            now: seconds, monotonic.
            loads: of each worker; None while its recognition does not run.
        """
        if self._samples and len(self._samples[-1][1]) != len(loads):
            self._samples.clear()  # another worker runs
        self._samples.append((now, list(loads)))
        while len(self._samples) > 2 and now - self._samples[1][0] >= SPANS * SPAN_S:
            self._samples.popleft()
        if now < self._quiet_until or now - self._samples[0][0] < SPANS * SPAN_S:
            return None
        ends = [self._sample_at(now - number * SPAN_S) for number in range(SPANS, -1, -1)]
        found = self._choose(now, [_steady(ends, index) for index in range(len(loads))])
        if found is not None:
            self.moved_at[found.camera] = now
            self._quiet_until = now + PAUSE_S
            self._samples.clear()
        return found

    def _sample_at(self, at: float) -> _Sample:
        return min(self._samples, key=lambda sample: abs(sample[0] - at))

    def _choose(self, now: float, spans: Sequence[_Span | None]) -> Move | None:
        there = [(index, span) for index, span in enumerate(spans) if span is not None]
        behind = [(span.lost, index) for index, span in there if span.lost >= BEHIND]
        spare = [
            (span.busy, index) for index, span in there if span.lost <= SPARE and span.busy < FULL
        ]
        if not behind or not spare:
            return None
        lost, source = max(behind)
        busy, target = min(spare)
        span = spans[source]
        assert span is not None
        total = sum(span.needed.values())
        ways = [
            (max(total - needed, busy + needed), name)
            for name, needed in span.needed.items()
            if now - self.moved_at.get(name, -REST_S) >= REST_S
        ]
        if not ways or min(ways)[0] > GAIN * total:
            return None
        return Move(min(ways)[1], source, target, lost)


def _span(first: _Sample, last: _Sample, index: int) -> _Span | None:
    """Return what a worker did between two samples; None if it or its cameras changed."""
    before, after = first[1][index], last[1][index]
    seconds = last[0] - first[0]
    if before is None or after is None or before.keys() != after.keys() or seconds <= 0:
        return None
    captured = dropped = 0
    busy, needed = 0.0, dict[str, float]()
    for name, now in after.items():
        then = before[name]
        frames, losses = now.captured - then.captured, now.dropped - then.dropped
        spent = (now.spent_s - then.spent_s) / seconds
        if frames < 0 or losses < 0 or spent < 0:  # it was started again
            return None
        captured, dropped, busy = captured + frames, dropped + losses, busy + spent
        needed[name] = spent * frames / max(frames - losses, 1)
    return _Span(dropped / captured if captured else 0.0, busy, needed)


def _steady(ends: Sequence[_Sample], index: int) -> _Span | None:
    """Return what a worker did between the first and the last of the samples.

    None unless it was behind in all spans between them, or had time to spare in all.
    """
    spans = [_span(first, last, index) for first, last in itertools.pairwise(ends)]
    there = [span for span in spans if span is not None]
    is_behind = all(span.lost >= BEHIND for span in there)
    has_spare = all(span.lost <= SPARE for span in there)
    is_steady = len(there) == len(spans) and (is_behind or has_spare)
    return _span(ends[0], ends[-1], index) if is_steady else None


class LoadedHost(Protocol):
    """A worker, as far as its load is concerned."""

    name: str

    def loads(self) -> Loads | None:
        """Return what each camera takes; None while recognition does not run."""


class Rebalancer:
    """Observes the workers and moves cameras between them, one at a time.

    Args:
        workers: those whose cameras may move; others may be added.
        move: moves a camera to the worker of this index.
        supervisor: restarts its task if it fails.
        clock: seconds, monotonic.

    Attributes:
        moves: cameras moved since the start.
    """

    def __init__(
        self,
        workers: Sequence[LoadedHost],
        move: Callable[[str, int], Awaitable[None]],
        *,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self.moves = 0
        self._workers = workers
        self._move = move
        self._balancer = Balancer()
        self._supervisor = supervisor
        self._clock = clock
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Start to observe; with fewer than two workers no camera moves."""
        self._task = self._supervisor.task("balance of the workers", self._run)

    def stop(self) -> None:
        """Move no more cameras; returns at once."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            loads = [worker.loads() for worker in self._workers]
            move = self._balancer.observe(self._clock(), loads)
            if move is not None:
                await self._carry_out(move)

    async def _carry_out(self, move: Move) -> None:
        source, target = self._workers[move.source].name, self._workers[move.target].name
        try:
            await self._move(move.camera, move.target)
        except (UnknownCameraError, WorkerError) as error:  # removed, or the worker ended meanwhile
            logger.info("camera %s stays with %s: %s", move.camera, source, error)
            return
        self.moves += 1
        logger.info(
            "camera %s: moved to %s, since %s lost %.0f %% of its frames",
            *(move.camera, target, source, 100 * move.lost),
        )
