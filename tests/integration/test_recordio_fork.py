"""A reader of records in a process that forks, as loaders do."""

import subprocess
import sys

import pytest

from trainer.data.recordio import Record, RecordWriter

pytestmark = pytest.mark.integration

# In a process of its own: this one has other tests' native threads, which no fork survives.
FORK = """
import os, sys
from pathlib import Path
from trainer.data.recordio import RecordReader

reader, keys = RecordReader(Path(sys.argv[1])), [int(key) for key in sys.argv[2:]]
before = [reader.read(key) for key in keys]
pid = os.fork()
is_same = [reader.read(key) for key in keys * 100] == before * 100
if pid == 0:  # the child moves its own position, not ours
    os._exit(not is_same)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(code or not is_same)
"""


def test_a_reader_survives_fork(tmp_path):
    path = tmp_path / "a.rec"
    with RecordWriter(path) as writer:
        for key in range(5):
            writer.write(key, Record((float(key),), key, bytes([key]) * 1000))
    command = [sys.executable, "-c", FORK, path, *map(str, range(5))]
    subprocess.run(command, check=True)
