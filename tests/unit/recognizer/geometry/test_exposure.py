import cv2
import numpy as np
import pytest

from recognizer.geometry.exposure import normalized, normalized_crops, retoned


def scene(height: int = 240, width: int = 320) -> np.ndarray:
    """Return a scene with all gray levels in areas of many sizes."""
    rng = np.random.default_rng(0)
    areas = [
        cv2.resize(rng.integers(0, 256, (n, n, 3), np.uint8), (width, height)) for n in (4, 9, 30)
    ]
    return np.mean(areas, axis=0).clip(0, 255).astype(np.uint8)


def full(image: np.ndarray) -> np.ndarray:
    """Return an image stretched to all gray levels."""
    low, high = np.percentile(image, [1, 99])
    return ((image.astype(float) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def noisy(image: np.ndarray, gain: float, lift: float = 0.0, sigma: float = 4.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, image.shape)
    return np.rint(image * gain + lift + noise).clip(0, 255).astype(np.uint8)


def levels_of(image: np.ndarray) -> float:
    return float(np.ptp(np.percentile(image @ np.array([0.299, 0.587, 0.114]), [1, 99])))


def test_daylight_stays_the_same_array():
    image = full(scene())
    assert normalized(image) is image
    evening = np.asarray(image * 0.8, np.uint8)
    assert normalized(evening) is evening


@pytest.mark.parametrize(
    ("gain", "lift"), [(0.25, 0), (0.12, 0), (0.06, 0), (0.3, 120), (0.12, 180)]
)
def test_dark_and_foggy_images_get_their_levels_back(gain: float, lift: float):
    image = full(scene())
    degraded = noisy(image, gain, lift)
    before = degraded.copy()
    restored = normalized(degraded)
    assert np.array_equal(degraded, before)
    assert levels_of(restored) > 150
    assert 70 < restored.mean() < 160
    blurred = [cv2.GaussianBlur(each, (0, 0), 3).astype(float) for each in (image, restored)]
    assert np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1] > 0.95


def test_brighter_pixels_stay_brighter():
    degraded = noisy(full(scene()), 0.2)
    restored = normalized(degraded)
    order = np.argsort(degraded, axis=None)
    assert (np.diff(restored.ravel()[order].astype(int)) >= 0).all()


def test_nearly_the_same_light_gives_nearly_the_same_image():
    image = full(scene())
    before = None
    # through the range in which normalization begins, as evening does
    for gain in np.arange(0.55, 0.3, -0.002):
        restored = normalized(np.rint(image * gain).astype(np.uint8)).astype(float)
        if before is not None:
            assert np.abs(restored - before).mean() < 5
        before = restored


def test_a_background_that_grows_changes_the_image_steadily():
    # a room with a lamp, and someone who moves before it: half of it is black, more or less
    before = None
    for share in np.arange(0.45, 0.65, 0.002):
        image = np.zeros((500, 80, 3), np.uint8)
        shown = image[int(share * 500) :]
        shown[:] = np.linspace(100, 180, shown.shape[1]).astype(np.uint8)[None, :, None]
        restored = normalized(image)[-1].astype(float)
        if before is not None:
            assert np.abs(restored - before).max() < 12
        before = restored


@pytest.mark.parametrize("shape", [(1, 1, 3), (12, 12, 3), (1, 900, 3), (720, 1280, 3)])
@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_an_image_of_one_color_stays(shape: tuple[int, int, int], level: int):
    image = np.full(shape, level, np.uint8)
    assert normalized(image) is image


def test_noise_without_a_scene_stays():
    dark = noisy(np.full((480, 640, 3), 5, np.uint8), 1.0)
    assert normalized(dark) is dark


def test_a_read_only_image_is_accepted():
    degraded = noisy(full(scene()), 0.12)
    degraded.setflags(write=False)
    assert levels_of(normalized(degraded)) > 150


def faces(gain: float, lift: float = 0.0, sigma: float = 4.0) -> np.ndarray:
    return noisy(full(scene(112, 112)), gain, lift, sigma)[None]


def test_crops_in_daylight_stay_the_same_array():
    crops = np.concatenate([faces(1.0), faces(0.4), faces(0.4, 100)])
    assert normalized_crops(crops) is crops
    assert len(normalized_crops(crops[:0])) == 0


@pytest.mark.parametrize(("gain", "lift"), [(0.12, 0), (0.05, 0), (0.1, 190)])
def test_a_dark_crop_gets_its_levels_back_without_the_others(gain: float, lift: float):
    crops = np.concatenate([faces(1.0), faces(gain, lift)])
    before = crops.copy()
    bright, restored = normalized_crops(crops)
    assert np.array_equal(crops, before)
    assert np.array_equal(bright, crops[0])
    assert levels_of(restored) > 150
    assert np.array_equal(restored, normalized_crops(crops[1:])[0])


def test_noise_is_smoothed_before_it_is_stretched():
    clean = full(scene(112, 112)).astype(float)
    restored = normalized_crops(faces(0.12))[0].astype(float)
    plain = faces(0.12)[0].astype(float)
    plain = (plain - plain.mean()) * (restored.std() / plain.std()) + restored.mean()
    # how much of each is the clean crop
    shown = [np.corrcoef(clean.ravel(), each.ravel())[0, 1] for each in (plain, restored)]
    assert shown[1] > 0.9
    assert shown[1] > shown[0]


def test_a_photo_is_tried_brighter_then_darker_then_equalized():
    image = full(scene())
    brighter, darker, _ = retoned(image)
    assert brighter.mean() > image.mean() + 20
    assert darker.mean() < image.mean() - 20
    overexposed = np.asarray(240 + image // 32, np.uint8)
    *_, clear = retoned(overexposed)
    assert clear.std() > 1.5 * overexposed.std()


def test_a_picture_on_a_plain_page_keeps_its_levels() -> None:
    page = np.full((1500, 2000, 3), 127, np.uint8)
    page[300:500, 700:900] = full(scene(200, 200))
    assert normalized(page) is page
    page[300:500, 700:900] = 127
    page[301, 701] = 130
    assert normalized(page) is page
