import asyncio

import numpy as np
import pytest

from stream.encoder import Codec, VideoPacket
from stream.frames import Frame, FrameResult, Track, TrackState
from stream.hub import PacketHub
from stream.renditions import Feed
from stream.video_out import VideoOut

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def black(at: float, height: int = 96, width: int = 128) -> FrameResult:
    return FrameResult(Frame("c", 0, at, np.zeros((height, width, 3), np.uint8)), (), (), {})


def send(out: VideoOut, result: FrameResult) -> int:
    return out.send(out.render(result), result)


async def read(hub: PacketHub, feed: Feed) -> asyncio.Task[VideoPacket]:
    task = asyncio.create_task(hub.subscribe(feed).recv())
    await asyncio.sleep(0)
    return task


async def test_nothing_is_encoded_for_nobody() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    hub.subscribe()
    assert send(out, black(0.0)) == 0
    assert out._encoders == {}


async def test_one_encoder_serves_all_and_goes_with_the_last() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewers = [hub.subscribe() for _ in range(3)]
    first = [asyncio.create_task(viewer.recv()) for viewer in viewers]
    await asyncio.sleep(0)
    assert send(out, black(0.0)) > 0
    assert set(out._encoders) == {Feed()}
    packets = await asyncio.gather(*first)
    assert all(packet is packets[0] for packet in packets)
    for viewer in viewers:
        viewer.close()
    assert send(out, black(0.04)) == 0
    assert out._encoders == {}


async def test_each_codec_in_use_has_its_encoder() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    first = [await read(hub, Feed(codec)) for codec in Codec]
    send(out, black(0.0))
    packets = await asyncio.gather(*first)
    assert all(packet.is_keyframe for packet in packets)
    assert set(out._encoders) == {Feed(codec) for codec in Codec}


async def test_a_new_size_starts_with_a_keyframe() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewer = hub.subscribe()
    task = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    for at, size in ((0.0, (96, 128)), (0.04, (96, 128)), (0.08, (48, 64)), (0.12, (48, 64))):
        send(out, black(at, *size))
    packets = [await task, *[await viewer.recv() for _ in range(3)]]
    assert [packet.is_keyframe for packet in packets] == [True, False, True, False]
    assert [packet.pts for packet in packets] == [0, 3600, 7200, 10800]


async def test_the_small_rendition_has_half_the_size_and_raw_ones_bring_their_faces() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    feeds = [Feed(), Feed(small=True), Feed(raw=True), Feed(small=True, raw=True)]
    first = [await read(hub, feed) for feed in feeds]
    track = Track(1, np.array([80, 80, 400, 300], np.float32), 0.9, 0, 0, TrackState.UNKNOWN, None)
    black_frame = black(0.0, 360, 640)
    result = FrameResult(black_frame.frame, (track,), (), {})
    pictures = out.render(result)
    out.send(pictures, result)
    packets = dict(zip(feeds, await asyncio.gather(*first), strict=True))
    for feed in feeds:
        assert pictures[feed].shape == ((180, 320, 3) if feed.small else (360, 640, 3))
        assert pictures[feed].any() != feed.raw
        assert packets[feed].opaque is (result if feed.raw else None)
        assert packets[feed].is_keyframe
    # The box's left edge, at half of 80.
    assert pictures[Feed(small=True)][100, 36:45].any()
    assert not pictures[Feed(small=True)][100, :36].any()


@pytest.mark.parametrize("codec", Codec)
async def test_lossy_links_get_fewer_bits(codec: Codec) -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25, bitrate=1_000_000)
    viewer = hub.subscribe(Feed(codec))
    waiting = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    rng, sizes = np.random.default_rng(0), list[int]()
    for number in range(120):
        viewer.share = 0.4 if number >= 60 else 1.0
        noise = rng.integers(100, 140, (90, 160, 3), np.uint8)
        image = np.repeat(np.repeat(noise, 4, 0), 4, 1)
        sizes.append(send(out, FrameResult(Frame("c", number, number / 25, image), (), (), {})))
        await waiting
        waiting = asyncio.create_task(viewer.recv())
        await asyncio.sleep(0)
    waiting.cancel()
    assert sum(sizes[90:]) < 0.7 * sum(sizes[30:60])
