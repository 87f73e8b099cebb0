import numpy as np
import pytest
from numpy.typing import NDArray

from recognizer import Octaves
from stream.recognition.motion import Motion

SIZE = (360, 640)


def frame(
    seed: int,
    *,
    noise: float = 2.0,
    light: float = 0.0,
    at: tuple[int, int] | None = None,
    contrast: int = 50,
) -> Octaves:
    """Return luma of a room with noise; a face of 24 pixels where `at` says."""
    room = np.linspace(40, 180, SIZE[1])[None].repeat(SIZE[0], axis=0)
    if at is not None:
        y, x = at
        room[y : y + 24, x : x + 24] += contrast
    noisy = room + light + np.random.default_rng(seed).normal(0, noise, SIZE)
    image: NDArray[np.uint8] = noisy.clip(0, 255).astype(np.uint8)
    return Octaves(image)


def scanned(*frames: Octaves) -> Motion:
    """Return motion that has seen these frames, the last of which was scanned."""
    motion = Motion()
    for each in frames:
        motion.is_still(each)
    motion.scanned(frames[-1])
    return motion


def test_nothing_is_still_before_the_first_scan() -> None:
    motion = Motion()
    assert not motion.is_still(frame(0))
    assert not motion.is_still(frame(0))


@pytest.mark.parametrize("noise", [0.0, 2.0, 12.0])
def test_noise_is_no_motion(noise: float) -> None:
    motion = scanned(*(frame(seed, noise=noise) for seed in range(30)))
    assert all(motion.is_still(frame(seed, noise=noise)) for seed in range(100, 120))


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_a_small_face_that_appears_is_motion(noise: float) -> None:
    motion = scanned(*(frame(seed, noise=noise) for seed in range(30)))
    assert not motion.is_still(frame(200, noise=noise, at=(100, 300)))


def test_slow_motion_counts_from_the_last_scan() -> None:
    motion = scanned(frame(0, at=(100, 300), contrast=20))
    moved = [motion.is_still(frame(n, at=(100, 300 + n), contrast=20)) for n in range(1, 20)]
    assert moved[0]
    assert not moved[-1]


def test_a_change_of_light_is_no_motion() -> None:
    motion = scanned(frame(0))
    assert motion.is_still(frame(1, light=10))


def test_a_moving_camera_is_motion_however_long_it_moves() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (90, 160, 1)).astype(np.uint8)
    image = texture.repeat(8, 0).repeat(8, 1)[:, :, 0]
    motion = scanned(Octaves(image))
    for number in range(1, 60):
        assert not motion.is_still(Octaves(np.roll(image, 8 * number, axis=1)))


def test_another_size_is_no_still_scene() -> None:
    motion = scanned(frame(0))
    small = Octaves(np.zeros((9, 12), np.uint8))
    assert not motion.is_still(small)
    motion.scanned(small)
    assert motion.is_still(small)
