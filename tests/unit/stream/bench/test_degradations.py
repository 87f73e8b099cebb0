import numpy as np
import pytest

from stream.bench.degradations import DEGRADATIONS

BOX = np.array([80, 60, 140, 140], np.float32)
GEOMETRIC = ("px", "turned", "large", "filling", "cut")


def photo() -> np.ndarray:
    """Return a gray photo of 240x200 with a colored spot of 8 px in the middle of `BOX`."""
    image = np.full((200, 240, 3), 120, np.uint8)
    image[96:104, 106:114] = (250, 20, 20)
    return image


def spot_in(image: np.ndarray) -> np.ndarray:
    """Return x and y of the middle of the reddest pixels."""
    redness = image[..., 0].astype(float) - image[..., 1]
    y, x = np.nonzero(redness > redness.max() / 2)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize("name", [n for n in DEGRADATIONS if any(g in n for g in GEOMETRIC)])
def test_the_map_leads_to_where_the_face_went(name: str):
    degraded = DEGRADATIONS[name](photo(), BOX, np.random.default_rng(0))
    mapped = degraded.matrix @ np.array([109.5, 99.5, 1.0])
    scale = np.sqrt(abs(np.linalg.det(degraded.matrix[:, :2])))
    assert np.abs(spot_in(degraded.image) - mapped).max() <= max(1.0, scale)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_seed_gives_the_same_image_and_the_photo_stays(name: str):
    image = photo()
    one, other = (DEGRADATIONS[name](image, BOX, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(image, photo())
    assert one.image.dtype == np.uint8
    assert one.image.ndim == 3
    if not any(part in name for part in GEOMETRIC):
        assert one.image.shape == image.shape


@pytest.mark.parametrize("face_px", [48, 32, 24, 16, 12])
def test_small_is_the_width_of_the_face(face_px: int):
    degraded = DEGRADATIONS[f"{face_px}px"](photo(), BOX, np.random.default_rng(0))
    width = (BOX[2] - BOX[0]) * degraded.matrix[0, 0]
    assert width == pytest.approx(face_px, abs=0.2)


def test_a_small_face_is_not_enlarged():
    box = np.array([80, 60, 90, 72], np.float32)
    degraded = DEGRADATIONS["24px"](photo(), box, np.random.default_rng(0))
    assert np.array_equal(degraded.image, photo())


def test_dark_is_12_percent_with_noise_of_4_levels():
    image = np.full((200, 240, 3), 200, np.uint8)
    dark = DEGRADATIONS["dark"](image, BOX, np.random.default_rng(0)).image
    assert dark.mean() == pytest.approx(24, abs=0.1)
    assert dark.std() == pytest.approx(4, abs=0.1)


def test_a_quarter_turn_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (200, 241, 3), np.uint8)
    turned = DEGRADATIONS["turned-90"](image, BOX, np.random.default_rng(0)).image
    assert np.array_equal(turned, np.rot90(image, -1))
    assert np.array_equal(
        DEGRADATIONS["turned-180"](image, BOX, np.random.default_rng(0)).image, np.rot90(image, 2)
    )


def test_a_cut_face_lies_beyond_the_border():
    degraded = DEGRADATIONS["cut-left"](photo(), BOX, np.random.default_rng(0))
    assert (degraded.matrix @ np.array([BOX[0], BOX[1], 1]))[0] == pytest.approx(-15)


@pytest.mark.parametrize("box", [[-500, -500, -400, -400], [0, 0, 0, 0], [900, 900, 990, 990]])
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_box_beyond_the_photo_does_no_harm(name: str, box: list[float]):
    degraded = DEGRADATIONS[name](photo(), np.array(box, np.float32), np.random.default_rng(0))
    assert degraded.image.size
    assert np.isfinite(degraded.matrix).all()
