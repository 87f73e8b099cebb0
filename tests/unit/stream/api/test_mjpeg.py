"""How long an MJPEG stream waits for its next frame."""

import pytest

from stream.api.mjpeg import AWAY_S, MISSED, patience_s
from stream.config import CameraConfig


@pytest.mark.parametrize(
    ("fps", "settings", "expected_s"),
    [
        (5.0, {}, AWAY_S),
        (0.1, {}, (MISSED + 1) * 10.0),
        (25.0, {"target_fps": 0.05}, (MISSED + 1) * 20.0),
        (0.1, {"target_fps": 0.2}, (MISSED + 1) * 10.0),
        (0.2, {"target_fps": 25.0}, (MISSED + 1) * 5.0),
        (5.0, {"read_timeout_s": 60.0}, 60.0),
    ],
)
def test_a_slow_stream_may_miss_frames(
    fps: float, settings: dict[str, float], expected_s: float
) -> None:
    config = CameraConfig.model_validate({"name": "door", "url": "demo:", **settings})
    assert patience_s(config, fps=fps) == pytest.approx(expected_s)
