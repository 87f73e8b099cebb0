"""Keeps the service of one machine running; free of Ray.

A coordinator runs beside each service as well: if the one that places cameras dies with its
machine, Ray takes a quarter of a minute to notice, and the next one four seconds.
"""

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gallery import GalleryError
from stream.cluster.coordinator import CoordinatorThread
from stream.cluster.database import ClusterDatabase
from stream.cluster.service_process import ServiceProcess
from stream.config import (
    DATABASE_VARIABLE,
    SITE_VARIABLE,
    configuration_file,
    data_dir,
    load_config,
)
from stream.errors import ConfigError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""Seconds between two questions whether the service answers."""

SILENT_S = 20.0
"""Seconds without an answer after which a service is killed: it is frozen."""

START_S = 600.0
"""How long a service may take to start, seconds: the first start fetches models."""

STOP_S = 10.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
"""Seconds from the end of a service to its next start: at first, and at most after doubling."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The service of one machine.

    Attributes:
        node: name of the machine.
        pid: process id of its service; 0 if it does not run.
        url: of its page; empty before it answers.
        starts: how often it was started.
        trouble: why it does not run, one line; empty if it does.
    """

    node: str
    pid: int
    url: str
    starts: int
    trouble: str


class Keeper:
    """Starts this machine's service, and again whenever it ends or is frozen.

    Configuration and secrets are those of this machine's environment and of its file.

    Args:
        arguments: of `facewire serve`.
        site: where this machine is, if its configuration does not say it.

    Raises:
        ConfigError: if the configuration is wrong, or names no database.
    """

    def __init__(self, arguments: Sequence[str], site: str = "") -> None:
        config = load_config(configuration_file(None), is_served=False)
        if not config.gallery.database:
            raise ConfigError(
                f"machine {socket.gethostname()} has no database: set {DATABASE_VARIABLE} there "
                "before Ray is started"
            )
        self._node = config.cluster.name or socket.gethostname()
        self._process = ServiceProcess(
            data_dir(),
            config.gallery_directory,
            ["--cluster", *arguments],
            {SITE_VARIABLE: site} if site and not config.cluster.site else {},
        )
        self._database = ClusterDatabase(config.gallery.database)
        self._coordinator = CoordinatorThread(config.gallery.database, self._node)
        self._starts = 0
        self._delay_s = FIRST_DELAY_S
        self._answered_at = float("-inf")
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = Supervisor(clock=time.monotonic).thread("keeper", self._keep)

    def start(self) -> None:
        """Start the thread that keeps the service, and a coordinator."""
        self._thread.start()
        self._coordinator.start()

    def status(self) -> Kept:
        """Return what is known of the service."""
        pid = self._process.pid if self._process.is_running else 0
        url = self._process.url() if pid else ""
        trouble = self._trouble or self._thread.status().trouble
        return Kept(self._node, pid, url, self._starts, trouble)

    def stop(self) -> None:
        """Stop the service, and keep it no longer."""
        self._stopping.set()
        self._coordinator.stop(STOP_S)
        self._thread.stop()
        self._thread.join(STOP_S)
        self._process.stop(STOP_S)
        self._process.close()
        self._database.close()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            if self._process.is_running:
                self._look()
            else:
                self._start()
            self._wait(LOOK_S)

    def _wait(self, timeout_s: float) -> None:
        """Wait, in short steps; a service that ends is noticed at once."""
        until = time.monotonic() + timeout_s
        while not self._stopping.is_set() and time.monotonic() < until:
            if not self._process.is_running:
                self._ended()
                return
            self._process.wait(0.2)

    def _start(self) -> None:
        if self._process.find():
            return
        try:
            self._process.start()
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._trouble = f"the service cannot be started: {why.lower()}"
            logger.error("%s", self._trouble)
            self._stopping.wait(LONGEST_DELAY_S)
            return
        self._starts += 1
        self._answered_at = float("-inf")

    def _ended(self) -> None:
        """Tell the coordinator that the service has ended, and wait before the next start."""
        if self._stopping.is_set():
            return
        last = self._last_line()
        self._trouble = f"the service has ended{f': {last}' if last else ''}"
        logger.warning("%s", self._trouble)
        try:
            self._database.gone(self._node)
        except GalleryError as error:
            logger.warning("%s", error)
            self._database.close()
        if time.monotonic() - self._process.started_at > LONGEST_DELAY_S:
            self._delay_s = FIRST_DELAY_S
        self._stopping.wait(self._delay_s)
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)

    def _look(self) -> None:
        """Kill the service if it has not answered for too long."""
        now = time.monotonic()
        if self._process.url() and self._process.answers():
            self._answered_at, self._trouble = time.monotonic(), ""
            return
        is_known = self._answered_at > self._process.started_at
        silent_s = now - (self._answered_at if is_known else self._process.started_at)
        if silent_s > (SILENT_S if is_known else START_S):
            logger.warning("the service has not answered for %.0f s: it is killed", silent_s)
            self._process.kill()

    def _last_line(self) -> str:
        try:
            lines = self._process.log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.startswith("facewire: ")), "")
