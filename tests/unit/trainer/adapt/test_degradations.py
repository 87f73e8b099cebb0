import numpy as np
import pytest

from trainer.adapt.degradations import DEGRADATIONS, degrade, degrade_anyhow


@pytest.fixture
def crop():
    """A crop with edges, faint and strong, light and dark."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (14, 14, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_a_degraded_crop_is_another_crop_of_the_same_shape(crop, kind):
    before = crop.copy()
    damaged = degrade(crop, kind, np.random.default_rng(1))
    assert damaged.shape == crop.shape
    assert damaged.dtype == np.uint8
    assert np.abs(damaged.astype(int) - crop).mean() > 1
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_the_same_seed_gives_the_same_damage_and_another_another(crop, kind):
    one, same, other = (degrade(crop, kind, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def detail(image):
    """Return the mean difference of neighbors: small in an image without detail."""
    return np.abs(np.diff(image.astype(int), axis=1)).mean()


def test_each_kind_does_what_its_name_says(crop):
    def damaged(kind):
        rng = np.random.default_rng(0)
        return [degrade(crop, kind, rng) for _ in range(10)]

    assert all(image.mean() < 0.65 * crop.mean() for image in damaged("dark"))
    stripes = np.zeros_like(crop)
    stripes[:, ::2] = 255  # finer than 32 pixels can show
    for kind in ("small", "blur"):
        rng = np.random.default_rng(0)
        for _ in range(10):
            assert detail(degrade(stripes, kind, rng)[20:-20, 20:-20]) < 0.5 * detail(stripes)
    assert all(abs(image.mean() - crop.mean()) < 5 for image in damaged("small"))


def test_darkness_comes_with_noise():
    gray = np.full((112, 112, 3), 128, np.uint8)
    assert degrade(gray, "dark", np.random.default_rng(0)).std() > 1


def test_training_sees_all_kinds_and_two_at_once(crop):
    rng = np.random.default_rng(0)
    images = [degrade_anyhow(crop, rng) for _ in range(60)]
    assert all(image.shape == crop.shape for image in images)
    shares = np.array([image.mean() for image in images]) < 0.65 * crop.mean()
    assert 0.1 < shares.mean() < 0.6  # dark, alone or with another
