"""The thread that keeps this machine's event log and the shared one the same."""

import threading

from stream.replication.replicator import LOOK_S, Replicator
from stream.supervisor import Supervisor


class ReplicationWorker:
    """Runs a replicator until `stop`.

    Args:
        replicator: entered; closed by this thread at its end.
        supervisor: restarts the thread after a failure.
    """

    def __init__(self, replicator: Replicator, supervisor: Supervisor) -> None:
        self.replicator = replicator
        self._stopping = threading.Event()
        self._thread = supervisor.thread("shared-events", self._run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def receive_no_more(self) -> None:
        """Call `arrived` and `changed` of the replicator no more; sending goes on."""
        self.replicator.receive_no_more()

    def stop(self) -> None:
        """Send what is left, give the cameras up, and end the thread; returns at once."""
        self._stopping.set()
        self._thread.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def problems(self) -> list[str]:
        """Return why events are not shared, one line each; empty if they are."""
        replicator = self.replicator
        lines = list(replicator.clashes)
        if replicator.trouble:
            lines.append(f"{replicator.trouble} ({replicator.n_waiting} changes wait)")
        return lines

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self.replicator.turn()
        self.replicator.leave()
        self.replicator.close()
