import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest

from stream.cameras.address import SourceSettings
from stream.cameras.push_source import CONNECT_S, STALE_S, PushCamera, PushSource
from stream.errors import SourceUnavailable
from stream.video.packet_hub import PacketHub


def picture(value: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((4, 6, 3), value, np.uint8), format="rgb24")


def test_the_newest_frame_wins() -> None:
    source = PushSource(camera="me", clock=lambda: 5.0)
    source.put(picture(1))
    source.put(picture(2))
    frame = source.read()
    assert frame.captured_at == 5.0
    assert int(frame.image[0, 0, 0]) == 2
    assert source.size == (4, 6)


def test_silence_is_said() -> None:
    source = PushSource(camera="me", clock=lambda: 0.0)
    source.use(SourceSettings(read_timeout_s=0.001))
    with pytest.raises(SourceUnavailable, match="me sends no frames"):
        source.read()


def test_a_sender_that_left_is_said_at_once() -> None:
    source = PushSource(camera="me", clock=lambda: 0.0)
    source.close()
    source.leave()
    with pytest.raises(SourceUnavailable, match="me disconnected"):
        source.read()


def test_settings_of_any_camera_hold_for_one_that_is_sent() -> None:
    source = PushSource(camera="me", clock=lambda: 0.0)
    source.use(SourceSettings(pixel_aspect=Fraction(2)))
    source.put(picture(1))
    assert source.read().image.shape == (4, 12, 3)


def test_the_place_of_a_sender_that_fell_silent_is_taken() -> None:
    now = [0.0]
    source = PushSource(camera="me", clock=lambda: now[0])
    removed: list[str] = []

    def sender(name: str) -> PushCamera:
        async def remove() -> None:
            removed.append(name)

        return PushCamera("me", source, PacketHub(lambda: 0.0), remove)

    crashed, again = sender("crashed"), sender("again")
    assert source.take(crashed) is None
    now[0] = CONNECT_S - 0.1
    assert not source.is_stale, "it may still connect"
    crashed.on_frame(picture(1))
    now[0] += STALE_S - 0.1
    assert not source.is_stale
    now[0] += 0.1
    assert source.is_stale
    assert source.take(again) is crashed
    crashed.on_frame(picture(2))
    asyncio.run(crashed.close())
    assert removed == [], "the late end of the former sender ends nothing"
    again.on_frame(picture(3))
    assert source.read().image[0, 0, 0] == 3
    asyncio.run(again.close())
    assert removed == ["again"]
