"""Memory that threads and large cameras leave behind is bounded."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from stream.heap import ARENAS

pytestmark = pytest.mark.integration

# Eight threads that hold memory at once: each has a heap of its own, unless that is limited.
HEAPS = """
import ctypes, sys, threading
from stream import heap
if sys.argv[2] == "limited":
    heap.limit_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = libc.malloc.restype
barrier = threading.Barrier(8)
def hold():
    libc.malloc(100_000)
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")
def test_threads_that_come_and_go_share_two_heaps(tmp_path: Path) -> None:
    def heaps(name: str) -> int:
        report = tmp_path / name
        subprocess.run([sys.executable, "-c", HEAPS, str(report), name], check=True)
        return report.read_text().count("<heap nr=")

    assert heaps("unlimited") > ARENAS
    assert heaps("limited") <= ARENAS


# Memory that is free but held by what lies above it in its heap, as after a large camera.
HELD = """
import ctypes
from pathlib import Path
from stream.heap import trim_heaps
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(100_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:
    libc.free(block)
before = resident()
trim_heaps()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")
def test_free_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 80
