"""Supervision of the service's long-lived threads and tasks.

A worker that fails is logged with its traceback, counted, and run again after a growing delay;
/healthz and /metrics show it meanwhile. Nothing that waits for a worker waits forever: its
`on_failure` answers the waiters, and `JobThread` does so by itself.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from stream.errors import WorkerError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
"""Seconds from a failure to the next run: at first, and at most after doubling."""

JOB_DELAY_S = 2.0
"""The same at most where somebody waits for the worker, such as an HTTP request."""

RECOVERED_S = 60.0
"""Seconds without a failure after which a worker counts as recovered."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How one worker is doing.

    Attributes:
        name: what it does, such as "encode-door".
        is_running: false while it waits to be run again, and after its end.
        failures: failures since the start of the service.
        trouble: why it is not well, one line; empty while it is. Never the text of an exception,
            which may hold an address with its password.
    """

    name: str
    is_running: bool
    failures: int
    trouble: str


class _Worker:
    """The failures of one worker; safe in any thread."""

    def __init__(
        self,
        supervisor: "Supervisor",
        name: str,
        on_failure: Callable[[int], None],
        longest_delay_s: float,
    ) -> None:
        self.name = name
        self._supervisor = supervisor
        self._on_failure = on_failure
        self._longest_delay_s = longest_delay_s
        self._failures = self._in_row = 0
        self._failed_at = float("-inf")
        self._error = ""
        self._is_running = False

    def status(self) -> WorkerStatus:
        """Return how it is doing."""
        trouble = ""
        if self._is_unwell(self._supervisor.clock()):
            times = "once" if self._failures == 1 else f"{self._failures} times"
            trouble = f"{self.name} failed {times}, last by {self._error}: see the log"
        return WorkerStatus(self.name, self._is_running, self._failures, trouble)

    def _is_unwell(self, now: float) -> bool:
        return self._failures > 0 and (not self._is_running or now - self._failed_at < RECOVERED_S)

    def _failed(self, error: BaseException) -> float:
        """Note a failure and answer the waiters; returns the seconds until the next run."""
        now = self._supervisor.clock()
        if now - self._failed_at >= RECOVERED_S:
            self._in_row = 0
        self._failed_at, self._error = now, type(error).__name__
        self._failures += 1
        self._in_row += 1
        delay_s: float = min(
            self._longest_delay_s, self._supervisor.first_delay_s * 2 ** min(self._in_row - 1, 16)
        )
        logger.error("%s failed: run again in %.1f s", self.name, delay_s, exc_info=error)
        try:
            self._on_failure(self._in_row)
        except Exception:
            logger.exception("%s: its waiters could not be answered", self.name)
        return delay_s


class SupervisedThread(_Worker):
    """A thread that is run again after a failure, until its function returns or `stop`.

    Made by `Supervisor.thread`; a daemon, so that one that hangs does not hold up the exit.
    """

    def __init__(
        self,
        supervisor: "Supervisor",
        name: str,
        run: Callable[[], None],
        on_failure: Callable[[int], None],
        longest_delay_s: float,
    ) -> None:
        super().__init__(supervisor, name, on_failure, longest_delay_s)
        self._run = run
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._is_running = True
        self._supervisor._add(self)
        self._thread.start()

    def stop(self) -> None:
        """Run it no more after the present run, and end a delay between two; returns at once."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs or will be run again."""
        return self._thread.is_alive()

    @property
    def is_running(self) -> bool:
        """Whether its function runs now: false in a delay after a failure."""
        return self._is_running and self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def _supervise(self) -> None:
        try:
            while True:
                self._is_running = True
                try:
                    self._run()
                except BaseException as error:  # noqa: BLE001 - SystemExit ends a thread silently
                    self._is_running = False
                    if self._stopping.wait(self._failed(error)):
                        return
                else:
                    return
        finally:
            self._is_running = False
            self._supervisor._discard(self)


class SupervisedTask(_Worker):
    """An asyncio task that is run again after a failure, until it returns or is canceled.

    Made by `Supervisor.task`.
    """

    def __init__(
        self,
        supervisor: "Supervisor",
        name: str,
        run: Callable[[], Coroutine[Any, Any, None]],
        on_failure: Callable[[int], None],
        longest_delay_s: float,
    ) -> None:
        super().__init__(supervisor, name, on_failure, longest_delay_s)
        self._run = run
        self._is_running = True
        supervisor._add(self)
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=name)

    def cancel(self) -> None:
        """Ask the task to end; returns at once."""
        self._task.cancel()

    async def stop(self) -> None:
        """Cancel the task and wait for its end."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _supervise(self) -> None:
        try:
            while True:
                self._is_running = True
                try:
                    return await self._run()
                except Exception as error:  # noqa: BLE001 - logged, counted and shown
                    self._is_running = False
                    await asyncio.sleep(self._failed(error))
        finally:
            self._is_running = False
            self._supervisor._discard(self)


class JobThread:
    """One supervised thread that runs calls in the order they came.

    Whoever waits for a call gets its result or its error. Calls that nobody waits for
    (`post`) are logged, counted and shown where they fail. Made by `Supervisor.jobs`.
    """

    def __init__(self, supervisor: "Supervisor", name: str) -> None:
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._posted = supervisor.watch(f"{name} (unattended)")
        self._thread = supervisor.thread(
            name, self._work, on_failure=self._answer, longest_delay_s=JOB_DELAY_S
        )
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """How many calls wait, the running one included."""
        return len(self._jobs)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self._thread.is_current

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a call in the thread; from any thread, returns at once.

        Returns:
            What to wait for: the result, or the error. A `WorkerError` where the thread has failed
            or is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._is_closing:
                future.set_exception(WorkerError(f"{self._thread.name} has ended"))
                return future
            self._jobs.append((future, partial(function, *args, **kwargs)))
            self._changed.notify()
        return future

    def post(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a call that nobody waits for; from any thread, returns at once."""
        self.submit(function, *args, **kwargs).add_done_callback(self._posted.future_done)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread and return its result; see `submit`."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def close(self, *, drop: bool = False) -> None:
        """Take no more calls and end after those that wait; returns at once.

        Args:
            drop: answer those that wait with an error instead of running them.
        """
        with self._changed:
            self._is_closing = True
            if drop:
                # The first may be running.
                waiting, self._jobs = list(self._jobs)[1:], deque(list(self._jobs)[:1])
            else:
                waiting = []
            self._changed.notify()
        for future, _ in waiting:
            fail(future, WorkerError(f"{self._thread.name} has ended"))

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread's end, after `close`."""
        self._thread.join(timeout_s)
        self._posted.close()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            run_job(*job)
            with self._changed:
                self._jobs.popleft()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Wait for a call, which stays in the queue while it runs; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closing)
            return self._jobs[0] if self._jobs else None

    def _answer(self, in_row: int) -> None:
        """Answer the call that ran at a failure; all of them where failure follows failure."""
        with self._changed:
            has_begun = [job for job in self._jobs if job[0].running() or job[0].done()]
            waiting = has_begun if in_row == 1 else list(self._jobs)
            self._jobs = deque(job for job in self._jobs if job not in waiting)
        for future, _ in waiting:
            fail(future, WorkerError(f"{self._thread.name} failed: try again in some seconds"))


class Watched(_Worker):
    """Counts and shows the failures of short-lived work of one kind, which is not run again.

    Made by `Supervisor.watch`.
    """

    def __init__(self, supervisor: "Supervisor", name: str) -> None:
        super().__init__(supervisor, name, lambda in_row: None, 0.0)
        self._is_running = True
        self._tasks: set[asyncio.Task[Any]] = set()
        supervisor._add(self)

    def task(
        self,
        work: Coroutine[Any, Any, T],
        *,
        on_failure: Callable[[], object] = lambda: None,
    ) -> "asyncio.Task[T]":
        """Run a coroutine as a task; its failure is logged, and `on_failure` ends what it served.

        In the event loop only. Whoever awaits the task gets its exception, too.
        """
        task = asyncio.get_running_loop().create_task(work, name=self.name)
        self._tasks.add(task)

        def done(task: "asyncio.Task[T]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.failed(error)
                on_failure()

        task.add_done_callback(done)
        return task

    def future_done(self, future: "Future[Any]") -> None:
        """Note the failure of a call that nobody waits for."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Note a failure."""
        self._failed_at, self._error = self._supervisor.clock(), type(error).__name__
        self._failures += 1
        logger.error("%s failed", self.name, exc_info=error)

    def close(self) -> None:
        """Forget it."""
        self._is_running = False
        self._supervisor._discard(self)


class Supervisor:
    """All long-lived threads and tasks of a service.

    Args:
        clock: seconds, monotonic.
        first_delay_s: seconds from a worker's first failure to its next run.
    """

    def __init__(self, *, clock: Callable[[], float], first_delay_s: float = FIRST_DELAY_S) -> None:
        self.clock = clock
        self.first_delay_s = first_delay_s
        self._lock = threading.Lock()
        self._workers: dict[int, _Worker] = {}

    def thread(
        self,
        name: str,
        run: Callable[[], None],
        *,
        on_failure: Callable[[int], None] = lambda in_row: None,
        longest_delay_s: float = LONGEST_DELAY_S,
    ) -> SupervisedThread:
        """Make a thread, to be started by `start`.

        Args:
            name: what it does, for people.
            run: its work; a return is the end of it, an exception a failure.
            on_failure: answers who waits for it, in that thread, before the delay; gets how many
                failures followed one another, from 1.
            longest_delay_s: seconds between a failure and the next run at most.
        """
        return SupervisedThread(self, name, run, on_failure, longest_delay_s)

    def task(
        self,
        name: str,
        run: Callable[[], Coroutine[Any, Any, None]],
        *,
        on_failure: Callable[[int], None] = lambda in_row: None,
        longest_delay_s: float = LONGEST_DELAY_S,
    ) -> SupervisedTask:
        """Start a task in the running event loop; see `thread`."""
        return SupervisedTask(self, name, run, on_failure, longest_delay_s)

    def jobs(self, name: str) -> JobThread:
        """Start a thread that runs calls one after another."""
        return JobThread(self, name)

    def watch(self, name: str) -> Watched:
        """Return what counts the failures of short-lived work of one kind."""
        return Watched(self, name)

    def statuses(self) -> list[WorkerStatus]:
        """Return how every worker is doing, in the order they were started."""
        with self._lock:
            workers = list(self._workers.values())
        return [worker.status() for worker in workers]

    def problems(self) -> list[str]:
        """Return what is not well, one line each."""
        return [status.trouble for status in self.statuses() if status.trouble]

    def _add(self, worker: _Worker) -> None:
        with self._lock:
            self._workers[id(worker)] = worker

    def _discard(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.pop(id(worker), None)


def run_job(future: "Future[Any]", call: Callable[[], Any]) -> None:
    """Run a call for whoever waits for the future; never raises what the call does."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
        fail(future, error)
    else:
        with suppress(InvalidStateError):
            future.set_result(result)


def fail(future: "Future[Any]", error: BaseException) -> None:
    """Answer a future with an error unless it is answered already."""
    with suppress(InvalidStateError):
        future.set_exception(error)
