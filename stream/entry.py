"""Where the command `facewire` begins: before anything that takes time is imported."""

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130
"""Exit status of a Ctrl-C, as shells give it."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback at any moment."""
    # Imports take half a second, and an exception in the middle of one can end anywhere.
    signal.signal(signal.SIGINT, _exit_at_once)
    from stream.cli import main as run

    signal.signal(signal.SIGINT, _exit)
    try:
        run()
    except SystemExit as end:
        _leave_hanging_threads(end)
        raise


def _leave_hanging_threads(end: SystemExit) -> None:
    """End at once where a thread outlived its bounded stop, such as one that waits for a camera.

    The interpreter would end it within C++, which aborts the process: everything is stored and said
    by now, but the exit status would be that of a crash.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`; `facewire serve` takes over with a stop of its own."""
    sys.exit(INTERRUPTED)
