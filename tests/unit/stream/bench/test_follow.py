import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream.bench.follow import bench_follow
from stream.cli.bench import app
from stream.errors import StreamError
from tests.shared_data import photos

pytestmark = pytest.mark.integration


def test_following_the_demo_is_close_to_the_network_alone() -> None:
    done = CliRunner().invoke(app, ["follow", "--seconds", "5", "--threads", "1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["source"], found["frames"], found["faces"]) == ("demo:", 125, 5)
    assert found["followed"] > 60
    assert found["lost"] <= found["network_lost"] + 1
    assert 0 <= found["error_p50"] <= found["error_p95"] < 0.08
    assert 0 <= found["mean_error_p50"] <= found["mean_error_p95"] < 0.05
    assert found["confirmed"] < 0.3
    assert found["bytes_per_frame"] < found["bytes_per_frame_rgb"] / 2


def test_photos_of_a_directory_are_moved() -> None:
    found = bench_follow(photos(), seconds=2, scan_every_s=0.5)
    assert found.frames == 50
    assert np.isfinite([found.error_p95, found.center_p95, found.flow_ms]).all()


@pytest.mark.parametrize("name", ["missing.mp4", "notes.mp4", "pipe.mp4"])
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for a writer
    with pytest.raises(StreamError, match=f"cannot play .*{name}"):
        bench_follow(tmp_path / name, seconds=1)
