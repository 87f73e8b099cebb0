import av
import numpy as np
import pytest

from stream.frames import Frame, Matrix, Pixels, Planes


def planes(width: int = 36, height: int = 20) -> Planes:
    picture = av.VideoFrame(width, height, "yuv420p")
    for plane, level in zip(picture.planes, (90, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return Planes(picture, Matrix.BT601)


def test_rgb_is_made_at_its_first_use_and_stays_the_same_array() -> None:
    frame = Frame("door", 0, 0.0, Pixels(None, planes()))
    assert frame.size == (20, 36)
    assert frame.luma[0].shape == (20, 36)
    assert (frame.luma[0] == 90).all()
    assert not frame.pixels.has_image
    image = frame.image
    assert image.shape == (20, 36, 3)
    assert np.ptp(image) <= 1
    assert image[0, 0, 0] == pytest.approx((90 - 16) * 255 / 219, abs=2)
    assert frame.image is image
    assert not image.flags.writeable


def test_luma_of_an_image_is_its_gray() -> None:
    image = np.zeros((8, 6, 3), np.uint8)
    image[:] = 200, 200, 200
    frame = Frame("door", 0, 0.0, image)
    assert (frame.luma[0] == 200).all()
    assert frame.luma is frame.luma
    assert frame.planes is None


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 4)])
def test_other_arrays_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
        Pixels(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="an image or planes"):
        Pixels(None)
