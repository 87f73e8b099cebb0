import numpy as np
import pytest

from recognizer.detect.turning import Turn, mapped, turned_back
from recognizer.faces import Detections

HEIGHT, WIDTH = 120, 80
CORNERS = np.array([[0, 0], [WIDTH - 1, 0], [0, HEIGHT - 1], [WIDTH - 1, HEIGHT - 1]], float)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 180, 215.5, 270, 359, -30])
def test_all_of_the_image_is_inside_the_turned_one(degrees: float, scale: float) -> None:
    turn = Turn(degrees, HEIGHT, WIDTH, scale=scale)
    corners = mapped(CORNERS, turn.matrix)
    assert (corners > -1).all()
    assert (corners < [turn.width, turn.height]).all()
    np.testing.assert_allclose(mapped(corners, turn.inverse), CORNERS, atol=1e-9)


@pytest.mark.parametrize("degrees", [33, 90, 180, 200, 270])
def test_pixels_go_where_the_matrix_says(degrees: float) -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[28:33, 58:63] = 255  # around (60, 30)
    turn = Turn(degrees, HEIGHT, WIDTH)
    turned = turn.image_of(image)
    assert turned.shape == (turn.height, turn.width, 3)
    y, x = np.nonzero(turned[..., 0] > 128)
    np.testing.assert_allclose(
        [x.mean(), y.mean()], mapped(np.array([60, 30]), turn.matrix), atol=1
    )


@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_change_no_pixel(turns: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    turned = Turn(90 * turns, HEIGHT, WIDTH).image_of(image)
    np.testing.assert_array_equal(turned, np.rot90(image, turns))


def one(box: list[float]) -> Detections:
    boxes = np.array([box], np.float32)
    return Detections(boxes, np.full((1, 5, 2), 30, np.float32), np.ones(1, np.float32))


def test_a_box_turned_by_a_quarter_is_the_same_box() -> None:
    back = turned_back(one([10, 20, 40, 70]), Turn(90, HEIGHT, WIDTH))
    np.testing.assert_allclose(back.boxes, [[WIDTH - 1 - 70, 10, WIDTH - 1 - 20, 40]], atol=1e-4)


def test_a_square_turned_by_an_eighth_keeps_its_side_and_its_middle() -> None:
    turn = Turn(45, HEIGHT, WIDTH, scale=0.5)
    back = turned_back(one([20, 20, 40, 40]), turn)
    np.testing.assert_allclose(back.boxes[0, 2:] - back.boxes[0, :2], 40, atol=1e-4)
    middle = (back.boxes[0, :2] + back.boxes[0, 2:]) / 2
    np.testing.assert_allclose(middle, mapped(np.array([30, 30]), turn.inverse), atol=1e-4)
