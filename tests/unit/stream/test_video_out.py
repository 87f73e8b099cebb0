import asyncio

import numpy as np
import pytest

from stream.encoder import Codec
from stream.hub import PacketHub
from stream.video_out import VideoOut

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def black(height: int = 96, width: int = 128) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


async def test_nothing_is_encoded_for_nobody() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    hub.subscribe()
    assert out.send(black(), 0.0) == 0
    assert out._encoders == {}


async def test_one_encoder_serves_all_and_goes_with_the_last() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewers = [hub.subscribe() for _ in range(3)]
    first = [asyncio.create_task(viewer.recv()) for viewer in viewers]
    await asyncio.sleep(0)
    assert out.send(black(), 0.0) > 0
    assert set(out._encoders) == {Codec.H264}
    packets = await asyncio.gather(*first)
    assert all(packet is packets[0] for packet in packets)
    for viewer in viewers:
        viewer.close()
    assert out.send(black(), 0.04) == 0
    assert out._encoders == {}


async def test_each_codec_in_use_has_its_encoder() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    first = [asyncio.create_task(hub.subscribe(codec).recv()) for codec in Codec]
    await asyncio.sleep(0)
    out.send(black(), 0.0)
    packets = await asyncio.gather(*first)
    assert all(packet.is_keyframe for packet in packets)
    assert set(out._encoders) == set(Codec)


async def test_a_new_size_starts_with_a_keyframe() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewer = hub.subscribe()
    task = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    for at, size in ((0.0, (96, 128)), (0.04, (96, 128)), (0.08, (48, 64)), (0.12, (48, 64))):
        out.send(black(*size), at)
    packets = [await task, *[await viewer.recv() for _ in range(3)]]
    assert [packet.is_keyframe for packet in packets] == [True, False, True, False]
    assert [packet.pts for packet in packets] == [0, 3600, 7200, 10800]
