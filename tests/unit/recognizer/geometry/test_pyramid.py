import cv2
import numpy as np
import pytest

from recognizer.geometry.pyramid import Octaves, crop_squares, scales, shrink


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1, 1, 0), (11, 500, 0), (39, 500, 0), (40, 40, 1), (57, 60, 2), (720, 1280, 9)],
)
def test_the_number_of_scales(height: int, width: int, expected: int) -> None:
    assert len(scales(height, width, min_face_px=40, factor=0.709)) == expected


def test_scales_start_where_the_smallest_face_fills_the_window() -> None:
    found = scales(480, 640, min_face_px=24, factor=0.5)
    np.testing.assert_allclose(found, [0.5, 0.25, 0.125, 0.0625, 0.03125])


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose red grows with x and green with y, one level per pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


def test_octaves_halve() -> None:
    octaves = Octaves(ramp(101, 200))
    assert octaves[1].shape == (50, 100, 3)
    assert octaves[2].shape == (25, 50, 3)
    np.testing.assert_allclose(octaves[1][10, 10, :2], [21, 21], atol=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2)])
def test_the_deepest_octave_still_has_pixels(shape: tuple[int, int]) -> None:
    octaves = Octaves(ramp(*shape))
    assert 0 not in octaves[octaves.deepest()].shape


def test_a_level_shows_the_same_as_a_direct_resize() -> None:
    image = np.asarray(cv2.GaussianBlur(ramp(240, 250), (9, 9), 3), np.uint8)
    octaves = Octaves(image)
    first, second = np.empty((72, 75, 3), np.uint8), np.empty((51, 53, 3), np.uint8)
    shrink(octaves, None, (72, 75), first)
    shrink(octaves, first, (51, 53), second)
    for level in (first, second):
        direct = cv2.resize(image, level.shape[1::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(level.astype(int), direct, atol=3)


@pytest.mark.parametrize("box", [[10, 20, 34, 44], [20.25, 30.5, 116.25, 126.5], [0, 0, 200, 200]])
def test_a_crop_shows_the_box(box: list[float]) -> None:
    image = ramp(200, 200)
    out = np.empty((1, 24, 24, 3), np.uint8)
    crop_squares([Octaves(image)], np.zeros(1, np.intp), np.array([box], float), 24, out)
    zoom = (box[2] - box[0]) / 24
    wanted = (np.arange(24) + 0.5) * zoom - 0.5
    inner = slice(1, -1)
    np.testing.assert_allclose(out[0, 5, inner, 0], wanted[inner] + box[0], atol=1.6)
    np.testing.assert_allclose(out[0, inner, 5, 1], wanted[inner] + box[1], atol=1.6)


def test_crops_come_back_in_the_order_of_the_boxes() -> None:
    images = [np.full((100 + 50 * i, 120, 3), 40 * (i + 1), np.uint8) for i in range(3)]
    owners = np.array([2, 0, 1, 0, 2], np.intp)
    boxes = np.array(
        [[0, 0, 90, 90], [5, 5, 30, 30], [9, 9, 60, 60], [0, 0, 99, 99], [1, 1, 5, 5]], float
    )
    out = np.zeros((5, 24, 24, 3), np.uint8)
    crop_squares([Octaves(image) for image in images], owners, boxes, 24, out)
    np.testing.assert_array_equal(out[:, 12, 12, 0], 40 * (owners + 1))


def test_no_crops() -> None:
    out = np.empty((0, 24, 24, 3), np.uint8)
    crop_squares([], np.empty(0, np.intp), np.empty((0, 4)), 24, out)


def test_more_crops_than_a_map_has_rows() -> None:
    boxes = np.tile([[0.0, 0, 48, 48]], (1500, 1))
    out = np.zeros((1500, 48, 48, 3), np.uint8)
    crop_squares([Octaves(ramp(60, 60))], np.zeros(1500, np.intp), boxes, 48, out)
    np.testing.assert_array_equal(out[0], out[-1])
    assert out[-1].max() == 47


@pytest.mark.parametrize("box", [[-80, -80, 20, 20], [180, 180, 400, 400], [-500, -500, 900, 900]])
def test_what_lies_outside_repeats_the_border(box: list[float]) -> None:
    image = np.full((200, 200, 3), 90, np.uint8)
    out = np.zeros((1, 48, 48, 3), np.uint8)
    crop_squares([Octaves(image)], np.zeros(1, np.intp), np.array([box], float), 48, out)
    np.testing.assert_array_equal(out, 90)
