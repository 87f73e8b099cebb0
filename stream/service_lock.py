"""One service on one data directory: two would both write its events and cameras."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import ConfigError

logger = logging.getLogger(__name__)

FILE_NAME = "service.lock"


@contextmanager
def only_service(directory: Path) -> Iterator[None]:
    """Hold the data directory of a service; other commands may use it meanwhile.

    The lock ends with the process, however that ends; the file stays.

    Args:
        directory: of the gallery and the event log; made where it is not there.

    Raises:
        ConfigError: if another service holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        file = -1
    if file < 0:
        yield  # what is opened in it next says why it cannot be used
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.pread(file, 20, 0).decode("ascii", "replace").strip()
            raise ConfigError(
                f"another facewire serves from {directory}"
                + (f" (process {process})" if process.isdigit() else "")
                + ": stop it, or give this one a directory of its own by [gallery] directory"
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
