"""Keeps every wanted camera on a machine that runs."""

import logging
import secrets
import threading
import time
from collections.abc import Callable

from gallery import GalleryError
from stream.cluster.database import DEAD_S, ClusterDatabase, State
from stream.cluster.placing import Levels, Machine
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

WAIT_S = 0.5
"""Seconds between two looks for machines that give no sign."""

GRACE_S = DEAD_S + 2.0
"""Seconds for which silent machines are waited for after the database or this process was away:
they could not give a sign, or it was not seen."""

PAUSE_S = 2.0
"""Seconds between two turns from which this process, or the database, was away."""


class Coordinator:
    """Places cameras; one of several does, the others wait for its end.

    Args:
        database: with the cameras and machines; closed by its owner.
        node: name of the machine on which this one runs.
        clock: seconds, monotonic.

    Attributes:
        holder: id of this coordinator.
        is_first: whether it is the one that places cameras.
    """

    def __init__(
        self,
        database: ClusterDatabase,
        node: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.holder = secrets.token_hex(8)
        self.is_first = False
        self._database = database
        self._node = node
        self._clock = clock
        self._turn_at = float("-inf")
        self._patient_until = float("-inf")
        self._levels = Levels()

    def turn(self) -> dict[str, str]:
        """Place what must be placed now; return the machines of those cameras.

        Raises:
            GalleryError: if the database cannot be used.
        """
        began = self._clock()
        is_first = self._database.coordinate(self.holder, self._node)
        state = self._database.state()
        now = self._clock()
        if began - self._turn_at > PAUSE_S:  # a slow database is not away
            self._patient_until = now + GRACE_S
        self._turn_at, self.is_first = now, is_first
        if not is_first:
            return {}
        found = self._moves(state, now)
        if found:
            generations = self._database.place(self.holder, found)
            for camera, generation in generations.items():
                before = state.placements.get(camera)
                logger.info(
                    "camera %s is placed on %s, generation %d (before: %s)",
                    *(camera, found[camera], generation, before.node if before else "nowhere"),
                )
        return found

    def _moves(self, state: State, now: float) -> dict[str, str]:
        running = state.running
        awaited = self._awaited(state, running) if now < self._patient_until else set()
        wanted = [each for each in state.wanted if state.placed.get(each.name) not in awaited]
        return self._levels.turn(now, wanted, running, state.placed, may_level=not awaited)

    def _awaited(self, state: State, running: list[Machine]) -> set[str]:
        """Return the machines that are silent, but not known to be dead."""
        names = {machine.node for machine in running}
        return {
            node.machine.node
            for node in state.nodes
            if node.silent_s is not None and node.machine.node not in names
        }


class CoordinatorThread:
    """Runs a coordinator until `stop`.

    Args:
        address: of the database.
        node: name of the machine.
    """

    def __init__(self, address: str, node: str) -> None:
        self._trouble = ""
        self._database = ClusterDatabase(address)
        self._coordinator = Coordinator(self._database, node)
        self._stopping = threading.Event()
        self._thread = Supervisor(clock=time.monotonic).thread("coordinator", self._run)

    @property
    def trouble(self) -> str:
        """Why cameras cannot be placed now, one line; empty if they can."""
        return self._trouble or self._thread.status().trouble

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Place nothing more."""
        self._stopping.set()
        self._thread.stop()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._coordinator.turn()
                    self._trouble = ""
                    self._database.wait(WAIT_S)
                except GalleryError as error:
                    if not self._trouble:
                        logger.warning("%s", error)
                    self._trouble = str(error)
                    self._database.close()
                    self._stopping.wait(WAIT_S)
        finally:
            self._database.close()
