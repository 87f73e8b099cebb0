"""The measure of the way from a camera to the browser's pixels, run for a few seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import require, require_chromium
from tests.rtsp_server import why_unavailable

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[2] / "scripts" / "camera_to_pixel.py"


def test_the_time_in_the_pictures_is_read_in_the_browser() -> None:
    require_chromium()
    require(why_unavailable())
    command = [sys.executable, str(SCRIPT), "--minutes=0.1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["n_read"] >= 1  # as many as a busy machine shows in these seconds
    assert report["n_unread"] <= max(1, 0.05 * report["n_read"])
    # No speed is promised here; the wrong bits would give hours.
    assert 0 < report["p50"] <= report["p95"] < 60_000
    assert "Chromium" in report["browser"]
