"""The device's image work, on the CPU engines, against OpenCV's."""

from typing import Any

import cv2
import numpy as np
import pytest

from recognizer.detect.mtcnn import Layer, NetWeights, ProposalNet
from recognizer.engines.device_graphs import line_weights
from recognizer.engines.device_images import KEPT_UPLOADS, DeviceImageWork
from recognizer.engines.engine import Array, Engine, Network, to_host
from recognizer.engines.host_images import HostImageWork
from recognizer.engines.image_work import Images, open_image_work
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.faces import Image

SIZES = [(60, 80), (48, 49), (60, 80), (1, 1), (13, 200)]


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class CountingEngine(OnnxRuntimeEngine):
    """Counts the uploaded images."""

    def __init__(self) -> None:
        super().__init__("cpu", threads=1)
        self.n_frames = 0

    def upload(self, array: Array):
        self.n_frames += len(array) if array.ndim == 4 else 0
        return super().upload(array)


def eye() -> NetWeights:
    """A network whose outputs are its inputs: red, green, blue, red, green."""
    weight = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1], :, None, None]
    empty = np.empty(0, np.float32)
    return NetWeights("pnet", (), Layer(weight, np.zeros(5, np.float32), empty))


@pytest.fixture(
    scope="module",
    params=[lambda: OnnxRuntimeEngine("cpu", threads=1), lambda: OpenVinoEngine(threads=1)],
    ids=["onnxruntime", "openvino"],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param()


@pytest.fixture(scope="module")
def work(engine: Engine) -> DeviceImageWork:
    return DeviceImageWork(engine)


def close(device: Array, host: Array) -> None:
    """Assert the same pixels, except for one gray level where rounding is ambiguous."""
    difference = np.abs(device.astype(int) - host)
    assert difference.max(initial=0) <= 1
    assert (difference > 0).mean() < 0.01


def test_levels_and_cells_are_the_hosts(work: DeviceImageWork, engine: Engine) -> None:
    images = [noise(*size, seed) for seed, size in enumerate([(120, 90), (57, 31), (120, 90)])]
    host, device = HostImageWork().open(images), work.open(images)
    assert device.sizes == host.sizes
    stacks = host.stacks()
    assert [list(stack) for stack in device.stacks()] == [list(stack) for stack in stacks]
    for members in stacks:
        height, width = host.sizes[members[0]]
        sizes = [(height // 2, width // 2), (height * 2 // 5, width * 2 // 5), (12, 13)]
        works: list[Images] = [host, device]
        # the limits leave all cells but black ones, some, and none
        for limit in (0.0, 200.0, 300.0):
            scans = [
                list(each.scan(ProposalNet(engine, eye()), members, sizes, limit=limit))
                for each in works
            ]
            assert len(scans[0]) == len(scans[1]) == len(sizes)
            for expected, found in zip(*scans, strict=True):
                for one, other in zip(expected, found, strict=True):
                    np.testing.assert_array_equal(other, one)


def test_frames_scanned_in_another_order(work: DeviceImageWork, engine: Engine) -> None:
    frames = [noise(40, 60, seed) for seed in range(3)]
    for frame in frames:
        frame.setflags(write=False)
    work.open(frames)
    again = [frames[2], frames[0], frames[2]]
    members, net = np.arange(3), ProposalNet(engine, eye())
    opened: list[Images] = [HostImageWork().open(again), work.open(again)]
    scans = [next(each.scan(net, members, [(20, 30)], limit=250.0)) for each in opened]
    order = np.argsort(scans[1][0], kind="stable")
    pairs: Any = zip(*scans, strict=True)
    for other, one in pairs:
        np.testing.assert_array_equal(one[order], other)


def test_no_level(work: DeviceImageWork, engine: Engine) -> None:
    opened = work.open([noise(5, 90, 1)])
    levels = opened.scan(ProposalNet(engine, eye()), np.zeros(1, np.intp), [], limit=0.0)
    assert list(levels) == []


@pytest.mark.parametrize("side", [24, 48])
def test_crops_are_the_hosts(work: DeviceImageWork, side: int) -> None:
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    host, device = HostImageWork().open(images), work.open(images)
    rng = np.random.default_rng(side)
    owners = rng.permutation(np.repeat(np.arange(len(images)), 7))
    corners = rng.uniform(-30, 60, (len(owners), 2))
    squares = np.concatenate([corners, corners + rng.uniform(3, 150, (len(owners), 1))], axis=1)
    seen = []
    for rows in device.batches(owners):
        n = len(rows) + 3
        crops = [
            to_host(each.crop(owners[rows], squares[rows], side=side, rows=n))
            for each in (device, host)
        ]
        assert crops[0].shape == crops[1].shape == (n, side, side, 3)
        close(*(each[: len(rows)] for each in crops))
        seen += list(rows)
    assert sorted(seen) == list(range(len(owners)))


def test_warps_are_the_hosts(work: DeviceImageWork) -> None:
    image = np.asarray(cv2.GaussianBlur(noise(90, 70), (0, 0), 2), np.uint8)
    turn = np.array([[1.217, -0.433, 3.1], [0.433, 1.217, -20.3]])
    far = turn + np.array([[0, 0, 900], [0, 0, 0]])
    matrices, owners = np.stack([turn, far, turn * 2]), np.zeros(3, np.intp)
    warped = to_host(work.open([image]).warp(owners, matrices, size=112))
    close(warped, HostImageWork().open([image]).warp(owners, matrices, size=112))
    assert not warped[1].any()
    none = work.open([image]).warp(owners[:0], matrices[:0], size=112)
    assert none.shape == (0, 112, 112, 3)


def test_an_image_that_cannot_change_goes_up_once() -> None:
    engine = CountingEngine()
    work = DeviceImageWork(engine)
    frames = [noise(20, 30, seed) for seed in range(3)]
    for frame in frames:
        frame.setflags(write=False)
    work.open(frames)
    work.open(frames[1:])
    work.open(frames[:1])
    assert engine.n_frames == 3
    for _ in range(KEPT_UPLOADS):
        another = noise(20, 30)
        another.setflags(write=False)
        work.open([another])
    work.open(frames[:1])  # long ago
    assert engine.n_frames == 3 + KEPT_UPLOADS + 1


def test_an_image_that_may_have_changed_goes_up_again() -> None:
    engine = CountingEngine()
    work = DeviceImageWork(engine)
    image = noise(20, 30)
    work.open([image])
    work.open([image])
    assert engine.n_frames == 2


def test_no_images(work: DeviceImageWork) -> None:
    images = work.open([])
    assert images.sizes == []
    assert images.stacks() == []
    assert list(images.batches(np.empty(0, np.intp))) == []


def test_what_is_no_image_is_refused(work: DeviceImageWork) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8, got \(5, 5\)"):
        work.open([np.zeros((5, 5), np.uint8)])


def test_weights_reach_both_borders() -> None:
    first, second, one, other = line_weights(100, 40)
    np.testing.assert_array_equal(one + other, 2048)
    assert (first[0], second[-1]) == (0, 99)
    first, second, one, _ = line_weights(1, 4)
    assert first.tolist() == second.tolist() == [0, 0, 0, 0]
    assert one.tolist() == [2048] * 4


class NamedEngine:
    name = "none"

    def __init__(self, device: str) -> None:
        self.device = device

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> Network:
        raise NotImplementedError

    def upload(self, array: Array) -> Array:
        raise NotImplementedError


def test_the_image_work_is_where_the_networks_are() -> None:
    assert isinstance(open_image_work(NamedEngine("cpu")), HostImageWork)
    assert isinstance(open_image_work(NamedEngine("cuda")), DeviceImageWork)
