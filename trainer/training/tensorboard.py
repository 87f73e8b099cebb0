"""Scalars for TensorBoard."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class EventLog:
    """One file of a run, made by the first `add`; a resumed run makes another beside it.

    Events are written at once: the thread of tensorboardX's SummaryWriter hides a full disk.

    Args:
        directory: TensorBoard's --logdir, or below it; made where it is missing.
        now: seconds since 1970.
        purge_step: values of older files are void from this step on; 0 for none.
    """

    def __init__(self, directory: Path, *, now: float, purge_step: int = 0) -> None:
        # TensorBoard reads files by name, so that a later one counts after the earlier
        self.path = directory / f"events.out.tfevents.{int(now * 1e6):017d}.facewire"
        self._head = [Event(wall_time=now, file_version="brain.Event:2")]
        if purge_step:
            start = SessionLog(status=SessionLog.START)
            self._head.append(Event(wall_time=now, step=purge_step, session_log=start))
        self._writer: RecordWriter | None = None

    def add(self, step: int, values: Mapping[str, float], *, now: float) -> None:
        """Append the values of a step by their tags.

        Raises:
            OSError: if the file cannot be written.
        """
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(self.path))
        for event in (*self._head, Event(wall_time=now, step=step, summary=summary)):
            self._writer.write(event.SerializeToString())
        self._writer.flush()
        self._head = []

    def close(self) -> None:
        """Close the file."""
        if self._writer:
            with suppress(OSError):  # raises the error of `add` again
                self._writer.close()
