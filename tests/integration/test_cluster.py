"""A cluster of three machines on this one: Ray, PostgreSQL, RTSP cameras, and real faults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import require
from tests.rtsp_server import why_unavailable

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SEED = 159
"""Of which the first four faults are those below."""


def test_nothing_is_lost_or_doubled_whatever_dies() -> None:
    require(why_unavailable())
    command = [sys.executable, str(ROOT / "scripts" / "chaos.py"), f"--seed={SEED}", "--json"]
    done = subprocess.run(
        [*command, "--faults=4", "--cameras=3", "--pause=5"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout, done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert found["details"] == []
    assert (found["lost"], found["doubled"], found["wrong_owner"]) == (0, 0, 0)
    assert found["faults_by_kind"] == {
        "service killed": 1,
        "service frozen": 1,
        "database killed": 1,
        "machine killed": 1,
    }
    assert found["stays"] > 0
    assert found["takeovers"] > 0
    assert done.returncode == 0
