import av
import numpy as np
import pytest

from stream import push
from stream.errors import SourceUnavailable
from stream.push import PushSource


def picture(value: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((4, 6, 3), value, np.uint8), format="rgb24")


def test_the_newest_frame_wins() -> None:
    source = PushSource(camera="me", clock=lambda: 5.0)
    source.put(picture(1))
    source.put(picture(2))
    frame = source.read()
    assert (frame.camera, frame.seq, frame.captured_at) == ("me", 0, 5.0)
    assert int(frame.image[0, 0, 0]) == 2
    assert source.size == (4, 6)


def test_silence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "SILENCE_S", 0.001)
    with pytest.raises(SourceUnavailable, match="me sends no pictures"):
        PushSource(camera="me", clock=lambda: 0.0).read()


def test_a_sender_that_left_is_said_at_once() -> None:
    source = PushSource(camera="me", clock=lambda: 0.0)
    source.close()
    source.leave()
    with pytest.raises(SourceUnavailable, match="me has left"):
        source.read()
