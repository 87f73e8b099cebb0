"""The service of a machine as a process that outlives the one that started it."""

import errno
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from stream.service_lock import running_services

ADDRESS = re.compile(rb"^facewire is on (http://\S+)", re.MULTILINE)
"""What the service prints once it answers."""

ANSWER_S = 3.0
"""How long an answer of the service is waited for, seconds."""

NAMES_OF_RAY = ("RAY_", "OMP_NUM_THREADS")
"""How variables begin that Ray sets for its own processes."""


class ServiceProcess:
    """Starts `facewire serve`, or finds the one that runs already.

    Args:
        data: directory of the service's data.
        directory: of its people and events.
        arguments: of `facewire serve`.
        environment: variables that it gets besides those of this process.

    Attributes:
        log: file of its output.
    """

    def __init__(
        self,
        data: Path,
        directory: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.log = data / "cluster" / "service.log"
        self._lock = data / "cluster" / "service.pid"
        self._data = data
        self._directory = directory
        self._arguments = arguments
        self._environment = environment
        self._pid = 0
        self._handle = -1
        self._url = b""
        self.started_at = float("-inf")

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._handle >= 0 and not self.wait(0)

    @property
    def pid(self) -> int:
        """Its number; 0 before the first start."""
        return self._pid

    def find(self) -> bool:
        """Look for a service that runs already, such as after this process's predecessor died."""
        real = os.path.realpath(self._directory)
        for each in running_services(self._data):
            if os.path.realpath(each.directory) == real and self._watch(each.process):
                return True
        starting = self._starting()
        return starting > 0 and self._watch(starting)

    def _starting(self) -> int:
        """Return the process id of a service that was started and may not say so yet; or 0."""
        try:
            with self._lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or 0)
        except (OSError, ValueError):
            pass
        return 0

    def start(self) -> None:
        """Start the service; its output replaces that of the former one.

        It holds the lock of the file with its process id until it ends, so that `find` returns it
        from the first moment on.

        Raises:
            OSError: if its log cannot be written, no process can be started, or another one starts.
        """
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EBUSY, "another one starts") from None
            self._start(lock.fileno())

    def _start(self, lock: int) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        run = "from stream.cli.entry import main; main()"
        command = [sys.executable, "-c", run, "serve", *self._arguments]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(NAMES_OF_RAY)
        }
        # Ray ends the children of a process that ends: this one is the child of a shell that ends.
        detached = '"$@" </dev/null >"$LOG" 2>&1 & echo $! >"$LOCK"; echo $!'
        done = subprocess.run(
            ["/bin/sh", "-c", detached, "sh", *command],
            env={
                **environment,
                **self._environment,
                "LOG": str(self.log),
                "LOCK": str(self._lock),
            },
            stdout=subprocess.PIPE,
            pass_fds=(lock,),
            start_new_session=True,
            check=True,
        )
        self._watch(int(done.stdout))

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the process; return whether it has ended."""
        return self._handle < 0 or bool(select.select([self._handle], [], [], timeout_s)[0])

    def url(self) -> str:
        """Return its address; empty before it answers."""
        if not self._url:
            try:
                found = ADDRESS.search(self.log.read_bytes())
            except OSError:
                found = None
            self._url = found[1] if found else b""
        return self._url.decode()

    def answers(self) -> bool:
        """Return whether it answers a request, whatever it says."""
        try:
            opener = build_opener(ProxyHandler({}))
            opener.open(f"{self.url()}/healthz", timeout=ANSWER_S).close()
        except HTTPError as error:
            error.close()
        except (OSError, HTTPException):
            return False
        return True

    def stop(self, timeout_s: float) -> None:
        """Stop it as Ctrl-C does, and kill it if it takes longer than that."""
        self._signal(signal.SIGINT)
        if not self.wait(timeout_s):
            self.kill()

    def kill(self) -> None:
        """Kill it at once."""
        self._signal(signal.SIGKILL)
        self.wait(ANSWER_S)

    def close(self) -> None:
        """Watch the process no longer; it goes on."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def _signal(self, number: signal.Signals) -> None:
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def _watch(self, pid: int) -> bool:
        self.close()
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self._pid, self._url, self.started_at = pid, b"", time.monotonic()
        return True
