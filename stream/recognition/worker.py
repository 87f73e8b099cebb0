"""The inference thread: frames of all cameras in, results and events out."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from stream.errors import WorkerError
from stream.frames import Event, Frame, FrameResult, Sighting
from stream.metrics.figures import Figures
from stream.metrics.windows import Window
from stream.recognition.batcher import Batcher
from stream.recognition.pipeline import Pipeline
from stream.supervisor import JOB_DELAY_S, Supervisor, fail, run_job

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

TICK_TIMEOUT_S = 0.25
"""How long the thread waits for frames before it checks for exits."""


class Inference:
    """Processes frames from a batcher and passes the results on, until it is stopped.

    Args:
        pipeline: used only in this thread once it is started.
        show: receives every recognized frame, in this thread.
        log: receives every event, in this thread.
        keep: receives sightings, in this thread.
        figures: metrics of ticks.
        supervisor: restarts the thread if it fails.
        clock: seconds, monotonic.

    Attributes:
        batcher: receives the cameras' frames.
        windows: milliseconds by stage of a tick.
        ticks: number of ticks.
        failures: number of failed ticks.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        show: Callable[[FrameResult], None],
        log: Callable[[Event], None],
        keep: Callable[[Sighting], None],
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self.batcher = Batcher(clock=clock)
        self.windows: dict[str, Window] = {}
        self.ticks = 0
        self.failures = 0
        self._pipeline = pipeline
        self._show = show
        self._log = log
        self._keep = keep
        self._figures = figures
        self._clock = clock
        self._thresholds: deque[float] = deque()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._stopping = threading.Event()
        self._thread = supervisor.thread(
            "inference", self._infer, on_failure=self._answer_jobs, longest_delay_s=JOB_DELAY_S
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stopping.set()
        self._thread.stop()
        self.batcher.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive:
            self._end_jobs("has ended")  # if it was stopped in a delay after a failure

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; false in the delay after a failure."""
        return self._thread.is_running

    @property
    def n_jobs(self) -> int:
        """Number of calls that wait for the thread."""
        return len(self._jobs)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the thread, between two ticks, and return its result.

        Raises:
            WorkerError: if the thread fails meanwhile or has been stopped.
        """
        future: Future[T] = Future()
        self._jobs.append((future, partial(function, *args, **kwargs)))
        self.batcher.wake()
        if not self._thread.is_alive and self._stopping.is_set():
            self._end_jobs("has ended")  # it may have ended before this call was queued
        return await asyncio.wrap_future(future)

    def gallery_changed(self, threshold: float) -> None:
        """Decide all tracks again, with the next tick; from any thread, returns at once.

        Args:
            threshold: minimum similarity of a match from now on, cosine.
        """
        self._thresholds.append(threshold)
        self.batcher.wake()

    async def gallery_applied(self) -> None:
        """Wait until the last `gallery_changed` is applied to all tracks.

        Raises:
            WorkerError: as `run`.
        """
        await self.run(_nothing)

    def _infer(self) -> None:
        while not self._stopping.is_set():
            frames = self.batcher.take(TICK_TIMEOUT_S)
            self._name_anew()
            if frames:
                self._tick(frames)
            # After the frames of this tick: a job may remove or rename their camera.
            while self._jobs:
                run_job(*self._jobs[0])
                self._jobs.popleft()
            for event in self._pipeline.leave(self._clock()):
                self._log(event)
        events, sightings = self._pipeline.end(self._clock())
        for sighting in sightings:
            self._keep(sighting)
        for event in events:
            self._log(event)
        self._end_jobs("has ended")

    def _answer_jobs(self, in_row: int) -> None:
        """Answer the call that ran at a failure; after repeated failures, all waiting calls."""
        if self._stopping.is_set() or in_row > 1:
            self._end_jobs("failed: try again")
        elif self._jobs and (self._jobs[0][0].running() or self._jobs[0][0].done()):
            fail(self._jobs.popleft()[0], WorkerError("recognition failed: try again"))

    def _end_jobs(self, why: str) -> None:
        with suppress(IndexError):  # another thread may take them
            for _ in range(len(self._jobs)):  # not those queued meanwhile
                fail(self._jobs.popleft()[0], WorkerError(f"recognition {why}"))

    def _name_anew(self) -> None:
        is_changed = bool(self._thresholds)
        while self._thresholds:
            self._pipeline.set_threshold(self._thresholds.popleft())
        if is_changed:
            self._pipeline.regallery()

    def _tick(self, frames: list[Frame]) -> None:
        try:
            results = self._pipeline.process(frames, self._clock())
        except Exception:
            # One bad frame must not end the service; it is counted and reported by /healthz.
            self.failures += 1
            logger.exception("recognition failed on a frame")
            return
        self.ticks += 1
        for stage, milliseconds in results[0].timings_ms.items():
            if milliseconds > 0:  # otherwise the stage did not run in this tick
                if stage not in self.windows:
                    self.windows[stage] = Window(observe=self._figures.stage(stage))
                self.windows[stage].add(milliseconds)
        self._figures.tick(len(results), sum(len(result.tracks) for result in results))
        for result in results:
            self._show(result)
            for event in result.events:
                self._log(event)
            for sighting in result.sightings:
                self._keep(sighting)


def _nothing() -> None:
    """Run between two ticks, after the gallery's changes have been applied."""
