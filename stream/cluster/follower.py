"""The thread of a service that follows which cameras are placed on its machine."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from gallery import GalleryError
from recognizer import usable_cpus
from stream.cameras.source import check_url
from stream.cluster.database import ClusterDatabase, Placed
from stream.cluster.placing import Machine, load_of
from stream.cluster.stays import StayCloser
from stream.config import CameraConfig
from stream.config_file import describe
from stream.errors import EventLogError, StreamError
from stream.events.open_stay import OpenStay
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

BEAT_S = 1.0
"""Seconds between two signs of this machine, and between looks for what no announcement told."""

WAIT_S = 0.2
"""Longest wait for an announcement, seconds: a stop is noticed within it."""


class Follower:
    """Follows the placements of one machine until `stop`.

    While the database is away, the cameras stay as they are.

    Args:
        address: of the database.
        node: name of this machine.
        site: where it is; None for nowhere in particular.
        run: of this service; stays of others on its cameras have ended.
        number: returns this machine's number in the shared event log, 0 before it has one.
        place: called with the cameras to run and their generations; must not block.
        close: called with people who need an exit; must not block.
        cpu_s: returns the processor time of the service's processes so far, seconds.
        frames: returns how many frames were captured so far, and of those lost for lack of time.
        supervisor: restarts the thread after a failure.

    Attributes:
        trouble: why placements cannot be followed now, one line; empty if they can.
        rejected: one line for each camera whose settings are wrong.
        stays: looks for people whom another machine left without an exit.
    """

    def __init__(
        self,
        address: str,
        *,
        node: str,
        site: str | None,
        run: str,
        number: Callable[[], int],
        place: Callable[[list[CameraConfig], dict[str, int]], None],
        close: Callable[[list[OpenStay]], None],
        cpu_s: Callable[[], float],
        frames: Callable[[], tuple[int, int]],
        supervisor: Supervisor,
    ) -> None:
        self.trouble = ""
        self.rejected: list[str] = []
        self._node = node
        self._site = site
        self._number = number
        self._place = place
        self._database = ClusterDatabase(address)
        self._began = time.monotonic()
        self._beat_at = float("-inf")
        self._cpu_s = cpu_s
        self._cpu_was_s, self._cpu_at = cpu_s(), time.monotonic()
        self._frames = frames
        self._frames_were = frames()
        self._is_member = False
        self._placed: list[Placed] = []
        self._wanted: frozenset[str] | None = None
        self._has_failed = threading.Event()
        self._stopping = threading.Event()
        self._thread = supervisor.thread("placements", self._follow)
        self.stays = StayCloser(
            address,
            node=node,
            run=run,
            number=number,
            cameras=lambda: [each.camera for each in self._placed] if self._is_member else (),
            close=close,
            supervisor=supervisor,
        )

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()
        self.stays.start()

    def place_again(self) -> None:
        """Call `place` again at the next turn, because it failed; from any thread."""
        self._has_failed.set()

    def stop(self) -> None:
        """Follow no longer; returns at once."""
        self._stopping.set()
        self._thread.stop()
        self.stays.stop()

    def leave(self, timeout_s: float) -> None:
        """After `stop`: end the thread, and give the cameras up, so that others may have them.

        Nobody waits for a look for stays that goes on: its thread ends with it.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive:
            return
        try:
            self._database.gone(self._node)
        except GalleryError as error:
            logger.warning("%s", error)
        finally:
            self._database.close()

    def is_placed(self, camera: str) -> bool:
        """Return whether a camera is placed, here or elsewhere; True while that is not known."""
        return self._wanted is None or camera in self._wanted

    def problems(self) -> list[str]:
        """Return what is wrong, one line each."""
        return [*self.rejected, *filter(None, (self.trouble, self.stays.trouble))]

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
                is_news = False
                while (
                    not is_news
                    and not self._stopping.is_set()
                    and time.monotonic() - self._beat_at < BEAT_S
                ):
                    is_news = self._database.wait(WAIT_S)
            except GalleryError as error:
                self._fail(str(error.__cause__ or error))
                self._stopping.wait(BEAT_S)
            except EventLogError as error:  # the cameras are taken at the next turn
                self.trouble = str(error)
                self._stopping.wait(BEAT_S)

    def _turn(self) -> None:
        number, now = self._number(), time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            # 0 until the shared log was reached
            self._is_member = number > 0 and self._database.announce(number, self._machine(now))
            if number and not self._is_member:
                self.trouble = (
                    f"another service runs as machine {self._node}: give each machine a name of "
                    "its own by [cluster] name"
                )
                if self._placed:  # the other one runs them
                    self._placed = []
                    self._apply([])
        if not self._is_member:
            return
        self._database.renew(self._node, number)
        placed, self._wanted = self._database.placed_on(self._node, number)
        if placed != self._placed or self._has_failed.is_set():
            self._has_failed.clear()
            self._apply(placed)
            self._placed = placed
            self.stays.look_again()
        if self.trouble:
            logger.info("placements of cameras are followed again")
        self.trouble = ""

    def _machine(self, now: float) -> Machine:
        """Return this machine, with its load since the last sign."""
        cores = usable_cpus()
        cpu_s = self._cpu_s()
        used_s, since_s = cpu_s - self._cpu_was_s, now - self._cpu_at
        self._cpu_was_s, self._cpu_at = cpu_s, now
        load = min(1.0, used_s / max(since_s, BEAT_S) / cores)
        frames, before = self._frames(), self._frames_were
        self._frames_were = frames
        load = load_of(load, frames[0] - before[0], frames[1] - before[1])
        return Machine(self._node, self._site, cores, load, now - self._began)

    def _apply(self, placed: Sequence[Placed]) -> None:
        cameras, self.rejected = [], []
        for each in placed:
            try:
                camera = CameraConfig.model_validate({**each.settings, "name": each.camera})
                check_url(camera.url)
                cameras.append(camera)
            except ValidationError as error:
                self.rejected.append(describe(error, f"camera {each.camera}"))
            except StreamError as error:
                self.rejected.append(f"camera {each.camera}: {error}")
        for line in self.rejected:
            logger.error("%s", line)
        names = {camera.name for camera in cameras}
        self._place(
            cameras, {each.camera: each.generation for each in placed if each.camera in names}
        )

    def _fail(self, why: str) -> None:
        reason = why.strip().splitlines()[0] if why.strip() else "it does not answer"
        trouble = (
            f"the cluster in {self._database.where} cannot be reached: {reason}; the cameras of "
            "this machine stay as they are until it is back"
        )
        if not self.trouble:
            logger.warning("%s", trouble)
        self.trouble = trouble
        self._database.close()
