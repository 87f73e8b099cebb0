import threading

import numpy as np

from stream.frames import Frame
from stream.recognition.batcher import RECENT_S, WAITING, Batcher


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def frame(camera: str, seq: int = 0) -> Frame:
    return Frame(camera, seq, 0.0, np.zeros((2, 2, 3), np.uint8))


def test_nothing_is_nothing() -> None:
    assert Batcher(clock=Clock()).take(0.0) == []


def test_the_newest_frames_win_and_the_loss_is_counted() -> None:
    batcher = Batcher(clock=Clock())
    batcher.add("a")
    for seq in range(5):
        batcher.put(frame("a", seq))
    assert batcher.n_waiting == WAITING
    assert [f.seq for f in batcher.take(0.0)] == [3]
    assert [f.seq for f in batcher.take(0.0)] == [4]
    assert batcher.dropped("a") == 3
    assert batcher.take(0.0) == []
    assert batcher.n_waiting == 0


def test_one_tick_takes_one_frame_of_each_camera() -> None:
    batcher = Batcher(clock=Clock())
    for camera in "ab":
        batcher.add(camera)
        batcher.put(frame(camera))
    assert sorted(f.camera for f in batcher.take(0.0)) == ["a", "b"]
    assert (batcher.dropped("a"), batcher.dropped("b")) == (0, 0)


def test_frames_of_removed_and_foreign_cameras_are_ignored() -> None:
    batcher = Batcher(clock=Clock())
    batcher.add("a")
    batcher.put(frame("a"))
    batcher.remove("a")
    batcher.put(frame("a"))
    batcher.put(frame("stranger"))
    assert batcher.take(0.0) == []
    assert batcher.dropped("a") == 0


def test_a_tick_waits_for_a_live_camera_that_comes_within_the_bound() -> None:
    batcher = Batcher(clock=Clock(), max_wait_s=30.0)
    for camera in "ab":
        batcher.add(camera)
        batcher.put(frame(camera))
    batcher.take(0.0)
    batcher.put(frame("a", 1))
    late = threading.Timer(0.01, batcher.put, (frame("b", 1),))
    late.start()
    assert sorted(f.camera for f in batcher.take(0.0)) == ["a", "b"]
    late.join()


def test_a_silent_camera_is_not_waited_for() -> None:
    clock = Clock()
    batcher = Batcher(clock=clock, max_wait_s=1e6)
    batcher.add("dead")
    batcher.add("a")
    batcher.put(frame("dead"))
    batcher.take(0.0)
    clock.now += RECENT_S + 0.01
    batcher.put(frame("a"))
    assert [f.camera for f in batcher.take(0.0)] == ["a"]


def test_wake_ends_a_wait() -> None:
    batcher = Batcher(clock=Clock())
    batcher.wake()
    assert batcher.take(1e6) == []


def test_a_renamed_camera_keeps_its_count_and_loses_what_waited() -> None:
    batcher = Batcher(clock=lambda: 0.0)
    batcher.add("door")
    for number in range(3):
        batcher.put(frame("door", number))
    batcher.rename("door", "front")
    batcher.put(frame("door", 3))
    assert (batcher.n_waiting, batcher.dropped("door"), batcher.dropped("front")) == (0, 0, 3)
    batcher.put(frame("front", 4))
    assert [each.camera for each in batcher.take(0.1)] == ["front"]
    batcher.rename("gone", "other")
    assert batcher.dropped("other") == 0
