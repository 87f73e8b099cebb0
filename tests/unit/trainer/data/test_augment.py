import itertools

import numpy as np
import pytest

from trainer.data.augment import CUTOFF_VALUE, augment, jitter

IMAGE = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


def change(seed, **options):
    options = {"mirror": False, "color": 0, "cutoff": 0} | options
    return augment(IMAGE, np.random.default_rng(seed), **options)


def test_nothing_wanted_changes_nothing():
    assert change(0) is IMAGE


def test_every_second_image_is_mirrored():
    mirrored = [np.array_equal(change(s, mirror=True), IMAGE[:, ::-1]) for s in range(400)]
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("color", [1, 2])
def test_jitter_is_float_and_repeatable(color):
    a, b = change(3, color=color), change(3, color=color)
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, change(4, color=color))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (0, lambda x, grey: x * 1.1),
        (1, lambda x, grey: x * 1.1 - 0.1 * grey.mean()),
        (2, lambda x, grey: x * 1.1 - 0.1 * grey),
    ],
)
def test_each_jitter_is_its_formula(kind, expected):
    x = IMAGE.astype(np.float32)
    grey = (x * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
    alphas = [1.0, 1.0, 1.0]
    alphas[kind] = 1.1
    actual = jitter(x, order=[0, 1, 2], alphas=alphas)
    np.testing.assert_allclose(actual, expected(x, grey), atol=2e-2)


def test_half_of_the_images_get_a_square_and_the_original_none():
    sizes = []
    for seed in range(100):
        differs = (change(seed, cutoff=20) != IMAGE).any(axis=2)
        sizes.append(int(differs.sum()))
        assert (change(seed, cutoff=20)[differs] == CUTOFF_VALUE).all()
    assert 30 < sum(size > 0 for size in sizes) < 70
    assert max(sizes) <= 400


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_jitters_in_any_order_are_their_formulas_one_after_the_other(order):
    alphas = (0.9, 1.1, 1.05)
    expected = IMAGE.astype(np.float64)
    for kind in order:
        gray = (expected * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
        alpha = alphas[kind]
        added = ((0.0, gray.mean(), gray)[kind]) * (1 - alpha)
        expected = expected * alpha + added
    actual = jitter(IMAGE.astype(np.float32), order=order, alphas=alphas)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-3)
