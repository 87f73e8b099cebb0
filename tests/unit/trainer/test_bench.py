import itertools
import os
import time

import pytest

torch = pytest.importorskip("torch")

import numpy as np

from trainer.bench import CHANGES, SETTINGS, Setting, measure, measure_index, measure_loading
from trainer.data.faceset import FaceSet, FaceSetWriter, encode


def ticking(step):
    """A clock that goes on by a step whenever it is read."""
    ticks = itertools.count()
    return lambda: step * next(ticks)


def test_every_setting_is_timed_by_both_clocks():
    speeds = measure(
        "m025",
        batch=2,
        device=torch.device("cpu"),
        clock=ticking(0.5),
        cpu_clock=ticking(0.25),
        runs=1,
    )
    assert [Setting(s.precision, s.channels_last) for s in speeds] == list(SETTINGS)
    assert {(s.images_per_s, s.images_per_cpu_s) for s in speeds} == {(4.0, 8.0)}
    assert {(s.backbone, s.batch) for s in speeds} == {("m025", 2)}


def test_a_clock_that_stands_still_divides_by_no_zero():
    (speed,) = measure(
        "m025",
        batch=2,
        device=torch.device("cpu"),
        clock=lambda: 0.0,
        cpu_clock=lambda: 0.0,
        settings=[Setting("f32", True)],
        runs=1,
    )
    assert np.isfinite(speed.images_per_s)


@pytest.mark.parametrize("change", CHANGES)
def test_loading_counts_the_images_after_the_first_batch(tmp_path, change):
    with FaceSetWriter(tmp_path) as writer:
        writer.add([encode(np.full((112, 112, 3), 90, np.uint8))] * 4)
    loading = measure_loading(
        FaceSet(tmp_path), change, clock=ticking(2.0), cpu_clock=ticking(1.0), n_images=8
    )
    assert (loading.images_per_s, loading.images_per_cpu_s) == (4.0, 8.0)


def test_an_index_is_measured_and_takes_few_bytes_in_all_processes(monkeypatch):
    monkeypatch.setenv("FACEWIRE_CACHE", "unchanged")
    found = measure_index(1_000_000, clock=time.perf_counter)
    assert (found.images, found.processes) == (1_000_000, 6)
    assert min(found.first_open_s, found.open_s) > 0
    # 8 bytes of a record and 4 of the order once; the bound leaves half for what else differs
    assert 8 < found.memory_mb < 25
    assert os.environ["FACEWIRE_CACHE"] == "unchanged"
