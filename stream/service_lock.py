"""Locks of running services: one service per gallery, and a list of those that run.

Two services on one gallery would both write its events and cameras. Other commands may run beside
a service. They find it by a file below the data directory, which the service keeps locked.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import ConfigError

logger = logging.getLogger(__name__)

FILE_NAME = "service.lock"

SERVICES = "services"
"""Directory, below the data directory, with one file for each running service."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A running service.

    Attributes:
        process: process id.
        user: id of the user that it runs as.
        directory: of its gallery, absolute.
        settings: those of its tables [recognizer], [gallery] and [events] that are set.
    """

    process: int
    user: int
    directory: Path
    settings: dict[str, Any]


@contextmanager
def announced(
    directory: Path, *, data: Path, settings: Mapping[str, Mapping[str, Any]]
) -> Iterator[None]:
    """Publish this service for `running_services`, until it ends or is killed.

    Args:
        directory: of its gallery.
        data: the data directory; if it cannot be written, the service is not listed.
        settings: see `RunningService`; JSON, without secrets.
    """
    real = os.path.realpath(directory)  # `Path.resolve` raises where links go in circles
    path = data / SERVICES / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:16]}.json"
    document = {"process": os.getpid(), "directory": real, **settings}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        logger.warning(
            "cannot write %s: %s; other commands do not find this service", path, error.strerror
        )
        yield
        return
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)  # a reader holds it for a moment
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(document).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def running_services(data: Path) -> list[RunningService]:
    """Return the running services that were started with this data directory.

    Args:
        data: the data directory; an unreadable one has none.
    """
    found = []
    with suppress(OSError):
        for path in sorted((data / SERVICES).glob("*.json")):
            if (service := _read(path)) is not None:
                found.append(service)
    return found


def _read(path: Path) -> RunningService | None:
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                document = json.load(file)
                return RunningService(
                    process=document.pop("process"),
                    user=os.fstat(file.fileno()).st_uid,
                    directory=Path(document.pop("directory")),
                    settings=document,
                )
    except (OSError, ValueError, KeyError):  # it is stopping or starting at this moment
        pass
    return None


@contextmanager
def only_service(
    directory: Path,
    *,
    step: str = "stop it, or give this one a directory of its own by [gallery] directory",
) -> Iterator[None]:
    """Lock the data directory for one service; other commands may still use it.

    The lock ends with the process, however that ends; the file stays.

    Args:
        directory: of the gallery and the event log; created if missing.
        step: what to do if another service has locked it, for the message.

    Raises:
        ConfigError: if another service has locked it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        file = -1
    if file < 0:
        yield  # the next file opened in it reports why it cannot be used
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            raise ConfigError(
                f"another facewire serves from {directory}"
                + (f" (process {process})" if process.isdigit() else "")
                + f": {step}"
            ) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning(
                "cannot lock %s: %s; start no second service on it", directory, error.strerror
            )
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)
