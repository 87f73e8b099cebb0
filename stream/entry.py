"""Where the command `facewire` begins: before anything that takes time is imported."""

import errno
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a Ctrl-C, as shells give it."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a disk without room, or without any for this user, answers."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback at any moment."""
    # Imports take half a second, and an exception in the middle of one can end anywhere.
    signal.signal(signal.SIGINT, _exit_at_once)
    from stream.cli import main as run

    signal.signal(signal.SIGINT, _exit)
    try:
        run()
    except SystemExit as end:
        _leave(end)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _leave(SystemExit(_cannot_write(error)))


def _leave(end: SystemExit) -> NoReturn:
    """End the process without the interpreter's own end: everything is stored and said by now.

    Unloading networks and libraries takes a second on two busy cores, for nothing. And where a
    thread outlived its bounded stop, such as one that waits for a camera, the interpreter would
    end it within C++, which aborts the process with the exit status of a crash.
    """
    status = end.code if isinstance(end.code, int) else int(end.code is not None)
    if isinstance(end.code, str):
        sys.stderr.write(f"{end.code}\n")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # whoever read it has seen enough
    except OSError as error:
        if status == 0:
            sys.stderr.write(f"{_cannot_write(error)}\n")
        status = status or 1
    sys.stderr.flush()
    os._exit(status)


def _cannot_write(error: OSError) -> str:
    return f"facewire: cannot write the output: {(error.strerror or '').lower()} (free some space)"


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`; `facewire serve` takes over with a stop of its own."""
    sys.exit(INTERRUPTED)
