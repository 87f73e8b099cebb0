import itertools

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from trainer.backbones import build_backbone
from trainer.floor import SIZES, Peaks, Work, floor_s, measure_peaks, works_of


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 4, 3, 1, 1, groups=4)
    )


def test_operations_and_elements_of_every_layer_are_counted():
    pixels, maps = 3 * 112 * 112, 4 * 56 * 56
    first, depthwise = 2 * maps * 27, 2 * maps * 9
    assert works_of(small()) == [
        Work(first, pixels + maps),
        Work(first, pixels + maps),  # the pixels need no gradient
        Work(0, 3 * maps),
        Work(0, 5 * maps),
        Work(0, 2 * maps),
        Work(0, 3 * maps),
        Work(depthwise, 2 * maps),
        Work(2 * depthwise, 4 * maps),
    ]


def test_a_network_is_left_as_it_was():
    network = small().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    works_of(network)
    assert network.training
    assert all(torch.equal(before[key], now) for key, now in network.state_dict().items())


def test_operations_of_resnet_50_are_those_of_the_literature():
    # insightface's table: 6.3 GFLOPs, where a multiplication with its addition is one
    operations = sum(work.operations for work in works_of(build_backbone("r50"))[::2])
    assert operations / 2 == pytest.approx(6.3e9, rel=0.02)


def test_the_floor_is_the_slower_of_calculating_and_moving():
    network = small()
    works = works_of(network)
    endless = (1e30,) * len(SIZES)
    operations = sum(work.operations for work in works)
    assert floor_s(network, 2, "f32", Peaks(1e9, endless)) == pytest.approx(2 * operations / 1e9)
    n_bytes = 4 * sum(work.elements for work in works)
    slow = Peaks(1e30, (1e9,) * len(SIZES))
    assert floor_s(network, 2, "f32", slow) == pytest.approx(2 * n_bytes / 1e9)
    assert floor_s(network, 2, "bf16", slow) == pytest.approx(n_bytes / 1e9)
    assert floor_s(network, 2, "f32", Peaks(1e9, slow.bandwidth)) > floor_s(
        network, 2, "f32", Peaks(1e9, endless)
    )


def test_bytes_are_moved_at_the_speed_of_their_size():
    peaks = Peaks(1, tuple(float(n) for n in range(1, len(SIZES) + 1)))
    assert peaks.moving_s(1) == 1
    assert peaks.moving_s(SIZES[0]) == SIZES[0]
    assert peaks.moving_s(SIZES[0] + 1) == (SIZES[0] + 1) / 2
    assert peaks.moving_s(10 * SIZES[-1]) == 10 * SIZES[-1] / len(SIZES)


def test_peaks_are_measured_by_the_clock_that_is_given():
    ticks = itertools.count()
    slow = measure_peaks("f32", cpu_clock=lambda: float(next(ticks)))
    ticks = itertools.count()
    fast = measure_peaks("f32", cpu_clock=lambda: 0.5 * next(ticks))
    assert fast.operations == pytest.approx(2 * slow.operations)
    assert len(slow.bandwidth) == len(SIZES)
    assert all(
        a == pytest.approx(2 * b) for a, b in zip(fast.bandwidth, slow.bandwidth, strict=True)
    )
