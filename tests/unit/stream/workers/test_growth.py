"""How many workers run for how many cameras."""

import asyncio
import logging
import time

import pytest

from stream.config.recognizer import Workers
from stream.errors import WorkerError
from stream.supervisor import Supervisor
from stream.workers.growth import Growth, n_workers


@pytest.mark.parametrize(
    ("wanted", "cpus", "cameras", "is_node", "n"),
    [
        ("auto", 2, 64, False, 0),
        ("auto", 16, 1, False, 0),
        ("auto", 16, 4, False, 0),
        ("auto", 16, 5, False, 2),
        ("auto", 16, 16, False, 4),
        ("auto", 16, 64, False, 8),
        ("auto", 16, 0, True, 8),
        (1, 16, 64, False, 0),
        (3, 2, 0, False, 3),
    ],
)
def test_the_number_follows_cameras_and_processors(
    monkeypatch: pytest.MonkeyPatch,
    wanted: Workers,
    cpus: int,
    cameras: int,
    is_node: bool,
    n: int,
):
    monkeypatch.setattr("stream.workers.growth.usable_cpus", lambda: cpus)
    assert n_workers(wanted, cameras, is_node=is_node) == n


class Few:
    """Cameras of a service of which some still run in its own process."""

    def __init__(self, *here: str) -> None:
        self.here = list(here)
        self.n_opened = len(here)
        self.is_ready = False

    async def move_out(self) -> tuple[str, str] | None:
        if not self.here or not self.is_ready:
            return None
        if self.here[0] == "broken":
            raise WorkerError("recognition failed: try again")
        return self.here.pop(0), "recognition worker 1"


def test_workers_are_added_once_and_take_one_camera_at_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "stream")
    cameras, workers = Few("a", "b", "c"), list[int]()
    growth = Growth(
        cameras,
        workers,
        wanted=lambda n: 2 if n > 4 else 0,
        add=lambda: workers.append(len(workers)),
        supervisor=Supervisor(clock=time.monotonic),
    )

    async def scenario() -> None:
        await growth.check()
        assert workers == []
        cameras.n_opened = 5
        await growth.check()
        await growth.check()
        assert (workers, growth.moves, len(cameras.here)) == ([0, 1], 0, 3)
        cameras.is_ready = True
        await growth.check()
        assert cameras.here == ["b", "c"]
        cameras.here = ["broken"]
        await growth.check()
        assert growth.moves == 1
        cameras.n_opened, cameras.here = 1, []  # others were removed: the workers stay
        await growth.check()
        assert (workers, growth.moves) == ([0, 1], 1)

    asyncio.run(scenario())
    assert caplog.messages == [
        "5 cameras: 2 recognition workers run now, formerly 0",
        "camera a: moved to recognition worker 1, which runs now",
        "a camera stays in the service's process: recognition failed: try again",
    ]
