"""Where the command `facewire` begins: before anything that takes time is imported."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit status of a Ctrl-C, as shells give it."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback at any moment."""
    # Imports take half a second, and an exception in the middle of one can end anywhere.
    signal.signal(signal.SIGINT, _exit_at_once)
    from stream.cli import main as run

    signal.signal(signal.SIGINT, _exit)
    run()


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`; `facewire serve` takes over with a stop of its own."""
    sys.exit(INTERRUPTED)
