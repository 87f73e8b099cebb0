import cv2
import numpy as np
import pytest

from gallery.calibration import calibrate
from gallery.drawing import GENUINE, IMPOSTOR, contact_sheet, png_bytes, similarity_plot
from tests.unit.gallery.conftest import people

pytestmark = pytest.mark.on_disk  # what is computed does not depend on the store


@pytest.mark.parametrize(
    ("n", "size"), [(0, (146, 128)), (1, (146, 128)), (8, (146, 968)), (9, (284, 968))]
)
def test_a_contact_sheet_shows_each_crop_in_its_place(n, size):
    crops = [np.full((112, 112, 3), 10 * i + 5, np.uint8) for i in range(n)]
    sheet = contact_sheet(crops, [f"photo {i}" for i in range(n)])
    assert sheet.shape == (*size, 3)
    for i, crop in enumerate(crops):
        y, x = 8 + i // 8 * 138, 8 + i % 8 * 120
        np.testing.assert_array_equal(sheet[y : y + 112, x : x + 112], crop)


def test_a_photo_without_crop_says_so():
    blank = contact_sheet([None], ["7"])
    assert (blank[8:120, 8:120] != 225).any()


@pytest.mark.parametrize("n_photos", [1, 3])
def test_the_plot_shows_both_distributions(places, n_photos):
    with people(places("p"), 20, n_photos) as gallery:
        image = similarity_plot(calibrate(gallery, far=0.05))
    assert image.shape == (480, 900, 3)
    lines = image[60:420]
    assert (lines == IMPOSTOR).all(axis=2).sum() > 100
    assert ((lines == GENUINE).all(axis=2).sum() > 100) == (n_photos > 1)


def test_a_picture_is_a_png_of_the_same_pixels():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    again = cv2.imdecode(np.frombuffer(png_bytes(image), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(again, image)
