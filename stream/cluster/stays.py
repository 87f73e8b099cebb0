"""The thread that finds who was left in view by another machine, and needs an exit.

It has a connection of its own: its query may be slow or refused by a limit of the database, and the
machine's signs of life wait for neither.
"""

import logging
import threading
from collections.abc import Callable, Collection

from gallery import GalleryError
from stream.cluster.schema import MIGRATIONS, PART
from stream.events.open_stay import OpenStay
from stream.replication import schema as events
from stream.replication.connection import SharedConnection
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

LOOK_S = 3.0
"""Seconds between two looks."""

SILENCE_S = 30.0
"""How long a server that does not answer is waited for, seconds: nobody waits for the answer."""

LOOKBACK_S = 12 * 3600.0
"""How long ago people may have entered who get an exit, seconds."""


class StaysDatabase(SharedConnection):
    """The stays of the shared event log, as the placements of cameras divide them.

    For one thread at a time.

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
    """

    TABLES = ((events.PART, events.MIGRATIONS), (PART, MIGRATIONS))

    def __init__(self, address: str) -> None:
        super().__init__(address, silence_s=SILENCE_S)

    def revision(self) -> int:
        """Return the last revision of the shared event log."""
        with self._reading() as statements:
            ((revision,),) = statements.execute("SELECT last_value FROM event_revisions").fetchall()
        return int(revision)

    def open_stays(self, node: str, number: int, run: str) -> list[OpenStay]:
        """Return who has entered a machine's cameras before they were placed there, and not left.

        Args:
            node: the machine.
            number: of the machine in the shared event log.
            run: its present one, of which only those count that another machine's turn has ended.
        """
        with self._reading() as statements:
            rows = statements.execute(
                "SELECT DISTINCT ON (run, track_number) seen.camera, run, track_number, "
                "at, identity_id, name, similarity FROM events AS seen "
                "JOIN placements AS own ON own.camera = seen.camera "
                "WHERE own.node = ? AND seen.generation < own.generation "
                "AND at > server_now() - ? AND kind IN ('enter', 'unknown', 'renamed') "
                "AND (run <> ? OR EXISTS (SELECT 1 FROM assignments AS other "
                "WHERE other.camera = seen.camera AND other.node <> ? "
                "AND other.generation > seen.generation AND other.generation < own.generation)) "
                "AND NOT EXISTS (SELECT 1 FROM events AS gone WHERE gone.kind = 'exit' "
                "AND gone.run = seen.run AND gone.track_number = seen.track_number "
                "AND gone.at >= seen.at) "
                "ORDER BY run, track_number, id DESC",
                (node, LOOKBACK_S, run, number),
            ).fetchall()
        return [OpenStay(*row) for row in rows]


class StayCloser:
    """Looks for open stays on the cameras of one machine until `stop`.

    Args:
        address: of the database.
        node: name of this machine.
        run: of this service; stays of others on its cameras have ended.
        number: returns this machine's number in the shared event log.
        cameras: returns the cameras that this machine owns and runs.
        close: called with people who need an exit; must not block.
        supervisor: restarts the thread after a failure.

    Attributes:
        trouble: why nothing can be found now, one line; empty if it can.
    """

    def __init__(
        self,
        address: str,
        *,
        node: str,
        run: str,
        number: Callable[[], int],
        cameras: Callable[[], Collection[str]],
        close: Callable[[list[OpenStay]], None],
        supervisor: Supervisor,
    ) -> None:
        self.trouble = ""
        self._node, self._run_id = node, run
        self._number, self._cameras, self._close = number, cameras, close
        self._database = StaysDatabase(address)
        self._revision = -1
        self._is_moved = threading.Event()
        self._stopping = threading.Event()
        self._thread = supervisor.thread("stays of other machines", self._watch)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def look_again(self) -> None:
        """Look at the next turn, and soon: this machine has other cameras; from any thread."""
        self._is_moved.set()

    def stop(self) -> None:
        """Look no longer; returns at once."""
        self._stopping.set()
        self._is_moved.set()
        self._thread.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def turn(self) -> None:
        """Look once, where anything was written since the last look."""
        try:
            self._look()
        except GalleryError as error:
            why = str(error.__cause__ or error).strip()
            reason = why.splitlines()[0] if why else "it does not answer"
            trouble = (
                f"people whom another machine left in view get no exit: {self._database.where}: "
                f"{reason}"
            )
            if not self.trouble:
                logger.warning("%s", trouble)
            self.trouble = trouble
            self._database.close()
        else:
            self.trouble = ""

    def close(self) -> None:
        """Close the connection; after the thread's end, or where it was not started."""
        self._database.close()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self.turn()
            self._is_moved.wait(LOOK_S)
        self.close()

    def _look(self) -> None:
        if self._is_moved.is_set():
            self._is_moved.clear()
            self._revision = -1
        cameras = self._cameras()
        if not cameras:
            return
        revision = self._database.revision()
        if revision == self._revision:
            return
        found = self._database.open_stays(self._node, self._number(), self._run_id)
        # A camera that was placed here just now, but is not owned yet, is looked at again.
        stays = [each for each in found if each.camera in cameras]
        if self._stopping.is_set():
            return
        if stays:
            self._close(stays)
        self._revision = revision
