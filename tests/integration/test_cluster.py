"""A cluster of three machines on this one: Ray, PostgreSQL, RTSP cameras, and real faults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import require
from tests.janus_server import why_no_janus
from tests.rtsp_server import why_unavailable

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
KINDS = (
    "service killed",
    "service frozen",
    "database killed",
    "front killed",
    "machine killed",
    "janus killed",
)


def test_nothing_is_lost_or_doubled_whatever_dies() -> None:
    require(why_unavailable() or why_no_janus())
    command = [sys.executable, str(ROOT / "scripts" / "chaos.py"), "--json"]
    done = subprocess.run(
        [*command, f"--kinds={','.join(KINDS)}", "--faults=6", "--cameras=3", "--pause=3"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout, done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert found["details"] == []
    assert (found["lost"], found["doubled"], found["wrong_owner"]) == (0, 0, 0)
    assert found["faults_by_kind"] == dict.fromkeys(KINDS, 1)
    assert found["stays"] > 0
    assert found["takeovers"] > 0
    assert set(found["interrupted_p50_s_by_kind"]) == {"front killed", "janus killed"}
    assert found["republished_p50_s"] is not None
    assert done.returncode == 0
