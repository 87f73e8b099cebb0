"""Starts worker processes as cameras are added, and lets them run those of the service's process.

None is stopped when cameras are removed: the memory of an idle one is given back by a restart.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from recognizer import usable_cpus
from stream.config.recognizer import Workers
from stream.errors import UnknownCameraError, WorkerError
from stream.supervisor import SupervisedTask, Supervisor

logger = logging.getLogger(__name__)

CAMERAS_OF_ONE = 4
"""Cameras for which one worker process is started by `workers = "auto"`."""

CHECK_S = 1.0
"""How often the cameras are counted, and the time between two moves."""


def n_workers(wanted: Workers, n_cameras: int, *, is_node: bool) -> int:
    """Return the number of worker processes; 0 to run all cameras in the service's own.

    Args:
        wanted: as configured.
        n_cameras: cameras that are opened by a URL.
        is_node: whether this is a machine of a cluster, whose cameras come and go.
    """
    if wanted != "auto":
        n = wanted
    elif is_node:
        n = usable_cpus() // 2
    else:
        n = min(usable_cpus() // 2, -(-n_cameras // CAMERAS_OF_ONE))
    return n if n > 1 else 0


class GrowingCameras(Protocol):
    """The cameras of a service, as far as this is about them."""

    @property
    def n_opened(self) -> int:
        """Number of cameras that are opened by a URL."""

    async def move_out(self) -> tuple[str, str] | None:
        """Let a worker run a camera of this process; see `Cameras.move_out`."""


class Growth:
    """Starts workers when more cameras want them.

    Args:
        cameras: all of them.
        workers: those there are; others are added to it.
        wanted: returns how many there should be for a number of cameras.
        add: starts another one.
        supervisor: restarts its task if it fails.

    Attributes:
        moves: cameras moved out of the service's process since the start.
    """

    def __init__(
        self,
        cameras: GrowingCameras,
        workers: Sequence[object],
        *,
        wanted: Callable[[int], int],
        add: Callable[[], None],
        supervisor: Supervisor,
    ) -> None:
        self.moves = 0
        self._cameras = cameras
        self._workers = workers
        self._wanted = wanted
        self._add = add
        self._supervisor = supervisor
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Start to count."""
        self._task = self._supervisor.task("number of the workers", self._run)

    def stop(self) -> None:
        """Start no more workers, and move no more cameras; returns at once."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Start the workers that are missing; move one camera to a worker that is ready."""
        n_cameras, was = self._cameras.n_opened, len(self._workers)
        for _ in range(was, self._wanted(n_cameras)):
            self._add()
        if len(self._workers) > was:
            logger.info(
                "%d cameras: %d recognition workers run now, formerly %d",
                *(n_cameras, len(self._workers), was),
            )
        try:
            moved = await self._cameras.move_out()
        except (UnknownCameraError, WorkerError) as error:  # removed, or recognition failed
            logger.info("a camera stays in the service's process: %s", error)
            return
        if moved is not None:
            self.moves += 1
            logger.info("camera %s: moved to %s, which runs now", *moved)
