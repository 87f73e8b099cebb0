import asyncio
import ctypes
import threading
import time
from collections.abc import Callable

import pytest

from stream.errors import WorkerError
from stream.supervisor import Supervisor


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def kill(name: str) -> None:
    """End a thread by an exception in whatever it does, as a fault of its own would."""
    (thread,) = (each for each in threading.enumerate() if each.name == name)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_thread_that_fails_is_run_again_and_shown_until_it_has_recovered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, go_on, runs = Clock(), threading.Event(), list[int]()
    supervisor = Supervisor(clock=clock, first_delay_s=0.0)

    def work() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise ValueError("rtsp://user:hunter2@host/")
        go_on.wait()

    in_row: list[int] = []
    thread = supervisor.thread("encode-door", work, on_failure=in_row.append)
    assert supervisor.statuses() == []
    thread.start()
    until(lambda: len(runs) == 3)
    (status,) = supervisor.statuses()
    assert (status.name, status.is_running, status.failures) == ("encode-door", True, 2)
    assert supervisor.problems() == ["encode-door failed 2 times, last by ValueError: see the log"]
    assert in_row == [1, 2]
    assert "ValueError" in caplog.text  # with its traceback
    clock.now = 61.0
    assert supervisor.problems() == []
    go_on.set()
    thread.join()
    assert supervisor.statuses() == []


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError])
def test_no_kind_of_exception_ends_a_thread(error: type[BaseException]) -> None:
    supervisor, runs = Supervisor(clock=time.monotonic, first_delay_s=0.0), list[int]()

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise error

    thread = supervisor.thread("work", work)
    thread.start()
    thread.join()
    assert len(runs) == 2


def test_delays_grow_and_begin_anew_after_a_recovery() -> None:
    clock = Clock()
    supervisor = Supervisor(clock=clock, first_delay_s=0.5)
    watched = supervisor.thread("work", lambda: None, longest_delay_s=3.0)
    assert [watched._failed(ValueError()) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    clock.now = 100.0
    assert watched._failed(ValueError()) == 0.5


def test_a_stop_ends_the_delay_after_a_failure() -> None:
    def fail() -> None:
        raise ValueError

    supervisor = Supervisor(clock=time.monotonic, first_delay_s=1000.0)
    thread = supervisor.thread("work", fail, longest_delay_s=1000.0)
    thread.start()
    until(lambda: supervisor.problems())
    assert not thread.is_running
    assert thread.is_alive
    thread.stop()
    thread.join()
    assert not thread.is_alive


def test_waiters_that_cannot_be_answered_do_not_end_the_thread() -> None:
    supervisor, runs = Supervisor(clock=time.monotonic, first_delay_s=0.0), list[int]()

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError

    def answer(in_row: int) -> None:
        raise KeyError

    thread = supervisor.thread("work", work, on_failure=answer)
    thread.start()
    thread.join()
    assert len(runs) == 2


def test_a_call_gets_its_result_or_its_error() -> None:
    jobs = Supervisor(clock=time.monotonic).jobs("events")
    assert jobs.submit(lambda: 3).result() == 3
    with pytest.raises(ZeroDivisionError):
        jobs.submit(lambda: 1 // 0).result()
    jobs.close()
    jobs.join()
    with pytest.raises(WorkerError, match="events has ended"):
        jobs.submit(lambda: 3).result()


def test_a_call_that_nobody_waits_for_is_shown_where_it_fails() -> None:
    supervisor = Supervisor(clock=time.monotonic)
    jobs = supervisor.jobs("events")
    jobs.post(lambda: 1 // 0)
    jobs.submit(lambda: None).result()
    (problem,) = supervisor.problems()
    assert problem == "events (unattended) failed once, last by ZeroDivisionError: see the log"
    jobs.close()
    jobs.join()


# CPython 3.11 loops where one thread is traced while an exception waits for another.
@pytest.mark.no_cover
def test_a_killed_job_thread_answers_who_waits_and_goes_on() -> None:
    supervisor = Supervisor(clock=time.monotonic, first_delay_s=0.0)
    jobs = supervisor.jobs("photos")
    started, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        while not go_on.wait(0.005):
            pass

    hanging, waiting = jobs.submit(hang), jobs.submit(lambda: 4)
    started.wait()
    kill("photos")  # reaches the call that runs
    with pytest.raises(SystemExit):
        hanging.result()
    assert waiting.result() == 4
    for _ in range(3):  # reaches the thread between two calls
        kill("photos")
        jobs.submit(lambda: 5).exception()  # answered, one way or the other
    assert jobs.submit(lambda: 5).result() == 5
    jobs.close()
    jobs.join()


def test_calls_that_wait_are_answered_where_failure_follows_failure() -> None:
    supervisor = Supervisor(clock=time.monotonic, first_delay_s=0.0)
    jobs = supervisor.jobs("photos")
    started, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        go_on.wait()

    jobs.submit(hang)
    waiting = jobs.submit(lambda: 4)
    started.wait()
    jobs._answer(1)
    assert not waiting.done()
    jobs._answer(2)
    assert isinstance(waiting.exception(), WorkerError)
    go_on.set()
    jobs.close()
    jobs.join()


def test_what_waits_is_run_at_a_close_or_answered() -> None:
    supervisor = Supervisor(clock=time.monotonic)
    for drop in (False, True):
        jobs = supervisor.jobs("events")
        started, go_on = threading.Event(), threading.Event()

        def hang(started: threading.Event = started, go_on: threading.Event = go_on) -> int:
            started.set()
            go_on.wait()
            return 1

        running, waiting = jobs.submit(hang), jobs.submit(lambda: 2)
        started.wait()
        jobs.close(drop=drop)
        go_on.set()
        jobs.join()
        assert running.result() == 1
        assert (waiting.exception() is None) is not drop


def test_a_task_is_run_again_until_it_is_stopped() -> None:
    async def scenario() -> tuple[int, list[str], int]:
        supervisor, runs = Supervisor(clock=time.monotonic, first_delay_s=0.0), list[int]()
        again = asyncio.Event()

        async def work() -> None:
            runs.append(1)
            if len(runs) == 1:
                raise ValueError
            again.set()
            await asyncio.Event().wait()

        task = supervisor.task("refresh", work)
        await again.wait()
        problems = supervisor.problems()
        await task.stop()
        return len(runs), problems, len(supervisor.statuses())

    n_runs, problems, n_left = asyncio.run(scenario())
    assert (n_runs, n_left) == (2, 0)
    assert problems == ["refresh failed once, last by ValueError: see the log"]


def test_short_lived_work_that_fails_ends_what_it_served_and_is_counted() -> None:
    async def scenario() -> tuple[list[str], list[str], int]:
        supervisor, ended = Supervisor(clock=time.monotonic), list[str]()
        viewers = supervisor.watch("viewers")

        async def fail() -> None:
            raise KeyError

        failing = viewers.task(fail(), on_failure=lambda: ended.append("fail"))
        sleeping = viewers.task(asyncio.sleep(100), on_failure=lambda: ended.append("sleep"))
        await asyncio.wait([failing])
        sleeping.cancel()
        await asyncio.wait([sleeping])
        return ended, supervisor.problems(), supervisor.statuses()[0].failures

    ended, problems, failures = asyncio.run(scenario())
    assert (ended, failures) == (["fail"], 1)
    assert problems == ["viewers failed once, last by KeyError: see the log"]
