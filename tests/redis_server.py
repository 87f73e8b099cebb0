"""Debian's Redis 7.0 (BSD-3-Clause), which keeps nothing on disk, for tests."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.harness import OUTPUT, require
from tests.ports import HeldPort

REDIS = shutil.which("redis-server") or "/usr/bin/redis-server"


def require_redis() -> None:
    require("" if shutil.which(REDIS) else "no Redis: apt-get install redis-server")


@contextmanager
def redis_server() -> Iterator[str]:
    """Start Redis; yield its address, HOST:PORT, and kill it at the end."""
    require_redis()
    OUTPUT.mkdir(exist_ok=True)
    with HeldPort() as held, (OUTPUT / f"redis-{held.port}.log").open("wb") as log:
        process = subprocess.Popen(
            [REDIS, "--bind", "127.0.0.1", "--port", str(held.port), "--save", ""],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"127.0.0.1:{held.port}"
        finally:
            process.kill()
            process.wait()
