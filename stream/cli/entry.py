"""Entry point of the command `facewire`, which delays slow imports."""

import errno
import faulthandler
import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a Ctrl-C, as shells give it."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk and of an exceeded quota."""

NOT_WRITTEN = (*FULL, errno.EBADF, errno.EIO, errno.EFBIG)
"""Errors of writing to a standard stream; the error of a file has the file's name."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback at any moment."""
    # Imports take half a second, and an exception in the middle of one can end anywhere.
    signal.signal(signal.SIGINT, _exit_at_once)
    _prepare_streams()
    from stream.cli.main import main as run

    signal.signal(signal.SIGINT, _exit)
    try:
        run()
    except SystemExit as end:
        _leave(end)
    except BrokenPipeError:
        _leave(SystemExit(1))
    except OSError as error:
        if error.errno not in NOT_WRITTEN or error.filename is not None:
            raise
        _leave(SystemExit(_cannot_write(error)))


def _prepare_streams() -> None:
    """Make standard streams accept any text, and open those that are closed.

    The next opened file, such as a database, would get the closed descriptor, and output would be
    written into it. Source: https://www.sqlite.org/howtocorrupt.html
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # Opened for reading: output to it is an error, not dropped silently.
            os.dup2(os.open(os.devnull, os.O_RDONLY), number)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if not {"-v", "--verbose"} & set(sys.argv[1:]):
        _silence_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_libraries() -> None:
    """Hide messages of image and video libraries on descriptor 2, which do not name the file.

    Python's own stderr still works, and shows the traceback if a library ends the process.
    """
    sys.stderr.flush()
    encoding = sys.stderr.encoding
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(sys.stderr)


def _leave(end: SystemExit) -> NoReturn:
    """End the process without the interpreter's shutdown; everything is stored and printed.

    Unloading networks and libraries takes a second on two busy cores. If a thread is still running,
    such as one that waits for a camera, the interpreter would end it within C++, which aborts the
    process with the exit status of a crash.
    """
    status = end.code if isinstance(end.code, int) else int(end.code is not None)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # the reader of the pipe has ended
    except OSError as error:
        if status == 0:
            end.code = _cannot_write(error)
        status = status or 1
    with suppress(OSError):  # no stream is left for the output
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        sys.stderr.flush()
    os._exit(status)


def _cannot_write(error: OSError) -> str:
    step = "free some space" if error.errno in FULL else "give the command an output"
    return f"facewire: cannot write the output: {(error.strerror or '').lower()} ({step})"


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _exit(number: int, frame: FrameType | None) -> None:
    """Exit through every `finally`; `facewire serve` installs its own handlers.

    The process exits at once during an import, which may turn the exception into another, and where
    no code can catch it, such as in a callback of the garbage collector.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    sys.unraisablehook = _exit_unraised
    sys.exit(INTERRUPTED)


def _exit_unraised(ignored: "sys.UnraisableHookArgs") -> None:
    if isinstance(ignored.exc_value, SystemExit):
        os._exit(INTERRUPTED)
    sys.__unraisablehook__(ignored)
