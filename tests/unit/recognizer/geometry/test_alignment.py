import numpy as np
import pytest

from recognizer.geometry.alignment import TEMPLATE, align, similarity_transforms


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The published algorithm, with its singular value decomposition, for one set of points."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / a.var(axis=0).sum()
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.column_stack([scale * rotation, shift])


def test_no_faces() -> None:
    empty = np.empty((0, 5, 2), np.float32)
    assert similarity_transforms(empty).shape == (0, 2, 3)
    assert align(np.zeros((50, 50, 3), np.uint8), empty).shape == (0, 112, 112, 3)


def test_the_template_stays_where_it_is() -> None:
    matrix = similarity_transforms(TEMPLATE[None])[0]
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-5)


def test_many_faces_equal_umeyama_one_by_one() -> None:
    random = np.random.default_rng(0)
    turned = random.normal(0, 30, (50, 5, 2)).astype(np.float32) + TEMPLATE * 3
    for points, matrix in zip(turned, similarity_transforms(turned), strict=True):
        np.testing.assert_allclose(matrix, umeyama(points, TEMPLATE), atol=1e-3, rtol=1e-3)


def test_equal_points_give_a_finite_transform() -> None:
    matrix = similarity_transforms(np.full((1, 5, 2), 7, np.float32))
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize("shape", [(5, 2), (1, 4, 2), (1, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"landmarks must be \(N, 5, 2\)"):
        similarity_transforms(np.zeros(shape, np.float32))


def test_align_brings_landmarks_to_the_template() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    points = np.array([[100, 120], [170, 118], [135, 160], [105, 200], [165, 199]], np.float32)
    for x, y in points.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = align(image, points[None])[0]
    for x, y in TEMPLATE.round().astype(int):
        assert crop[y - 2 : y + 3, x - 2 : x + 3].max() > 150
