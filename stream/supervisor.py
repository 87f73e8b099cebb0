"""Supervision of the service's long-lived threads and tasks.

A failed worker is logged with its traceback, counted, and restarted after a growing delay;
/healthz and /metrics show it meanwhile. No caller waits forever for a failed worker: its
`on_failure` completes the waiting calls, and `JobThread` does so by itself.
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
    """Status of one worker.

    Attributes:
        name: of its work, such as "encode-door".
        is_running: false during a restart delay, and after its end.
        failures: number since the start of the service.
        trouble: its problem in one line; empty if there is none. Never an exception's message,
            which may hold an address with its password.
    """

    name: str
    is_running: bool
    failures: int
    trouble: str


class _Worker:
    """The failures of one worker; thread-safe."""

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
        """Return the worker's status."""
        trouble = ""
        if self._is_unwell(self._supervisor.clock()):
            times = "once" if self._failures == 1 else f"{self._failures} times"
            trouble = f"{self.name} failed {times}, last by {self._error}: see the log"
        return WorkerStatus(self.name, self._is_running, self._failures, trouble)

    def _is_unwell(self, now: float) -> bool:
        return self._failures > 0 and (not self._is_running or now - self._failed_at < RECOVERED_S)

    def _failed(self, error: BaseException) -> float:
        """Record a failure and complete the waiting calls; return the seconds until the restart."""
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
    """A thread that is restarted after a failure, until its function returns or `stop`.

    Created by `Supervisor.thread`; a daemon thread, so that a hanging one does not block the exit.
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
        """Prevent further restarts, and end a restart delay; returns at once."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs or will be restarted."""
        return self._thread.is_alive()

    @property
    def is_running(self) -> bool:
        """Whether its function runs now: false during a restart delay."""
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
    """An asyncio task that is restarted after a failure, until it returns or is canceled.

    Created by `Supervisor.task`.
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
        """Cancel the task; returns at once."""
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
    """One supervised thread that runs calls in order of submission.

    A caller of `submit` or `run` gets the result or the error. Failures of calls without a waiting
    caller (`post`) are logged, counted and shown. Created by `Supervisor.jobs`.
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
        """The number of queued calls, including the running one."""
        return len(self._jobs)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self._thread.is_current

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a call in the thread; from any thread, returns at once.

        Returns:
            A future of the result, or the error: a `WorkerError` if the thread has failed or is
            closed.
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
        """Run a call without waiting for it; from any thread, returns at once."""
        self.submit(function, *args, **kwargs).add_done_callback(self._posted.future_done)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread and return its result; see `submit`."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def close(self, *, drop: bool = False) -> None:
        """Accept no more calls and end after the queued ones; returns at once.

        Args:
            drop: complete the queued calls with an error instead of running them.
        """
        with self._changed:
            self._is_closing = True
            if drop:
                # The first call may be running.
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
        """Return the next call, which stays in the queue while it runs; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closing)
            return self._jobs[0] if self._jobs else None

    def _answer(self, in_row: int) -> None:
        """Fail the call that ran at a failure; all calls on repeated failures."""
        with self._changed:
            has_begun = [job for job in self._jobs if job[0].running() or job[0].done()]
            waiting = has_begun if in_row == 1 else list(self._jobs)
            self._jobs = deque(job for job in self._jobs if job not in waiting)
        for future, _ in waiting:
            fail(future, WorkerError(f"{self._thread.name} failed: try again in some seconds"))


class Watched(_Worker):
    """Counts and shows the failures of short-lived work of one kind, which is not restarted.

    Created by `Supervisor.watch`.
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
        """Run a coroutine as a task; a failure is logged, and `on_failure` is called.

        In the event loop only. Awaiting the task raises its exception, too.
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
        """Record the failure of a call without a waiting caller."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Note a failure."""
        self._failed_at, self._error = self._supervisor.clock(), type(error).__name__
        self._failures += 1
        logger.error("%s failed", self.name, exc_info=error)

    def close(self) -> None:
        """Remove it from the supervisor."""
        self._is_running = False
        self._supervisor._discard(self)


class Supervisor:
    """All long-lived threads and tasks of a service.

    Args:
        clock: seconds, monotonic.
        first_delay_s: seconds from a worker's first failure to its restart.
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
        """Return a new thread, to be started by `start`.

        Args:
            name: of its work, shown to people.
            run: its work; a return ends it, an exception is a failure.
            on_failure: completes the waiting calls, in that thread, before the delay; called with
                the number of consecutive failures, from 1.
            longest_delay_s: maximum seconds between a failure and the restart.
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
        """Start and return a thread that runs calls one after another."""
        return JobThread(self, name)

    def watch(self, name: str) -> Watched:
        """Return the failure counter of short-lived work of one kind."""
        return Watched(self, name)

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of every worker, in the order of their start."""
        with self._lock:
            workers = list(self._workers.values())
        return [worker.status() for worker in workers]

    def problems(self) -> list[str]:
        """Return the current problems, one line each."""
        return [status.trouble for status in self.statuses() if status.trouble]

    def _add(self, worker: _Worker) -> None:
        with self._lock:
            self._workers[id(worker)] = worker

    def _discard(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.pop(id(worker), None)


def run_job(future: "Future[Any]", call: Callable[[], Any]) -> None:
    """Run a call and complete its future; never raises the call's exception."""
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
    """Complete a future with an error unless it is done."""
    with suppress(InvalidStateError):
        future.set_exception(error)
