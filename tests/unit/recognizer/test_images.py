import base64
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from recognizer.errors import ImageError
from recognizer.images import decode_image, read_image

# 16x8 CMYK JPEG of one colour, about RGB (200, 30, 60)
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAQCwwODAoQDg0OEhEQExgoGhgWFhgxIyUdKDozPTw5Mzg3QEhcTkBEV0U3OF"
    "BtUVdfYmdoZz5NcXlwZHhcZWdj/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAGB//E"
    "ABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsAAD8ApEcnWgAD/9k="
)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth RGB, so that JPEG keeps it."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    """Encode RGB (or RGBA, or gray)."""
    if image.ndim == 3:
        order = [2, 1, 0, 3][: image.shape[2]]
        image = image[:, :, order]
    return cv2.imencode(suffix, image, options)[1].tobytes()


FORMATS = {
    "jpeg": encode(".jpg", picture(), cv2.IMWRITE_JPEG_QUALITY, 98),
    "progressive jpeg": encode(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": encode(".png", picture()),
    "bmp": encode(".bmp", picture()),
    "tiff": encode(".tiff", picture()),
    "webp": encode(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 95),
    "lossless webp": encode(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 101),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_rgb(name: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(FORMATS[name])
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), picture(), atol=16)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.97])
def test_a_cut_off_picture_is_refused_in_one_line(
    name: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = FORMATS[name]
    with pytest.raises(ImageError) as caught:
        decode_image(data[: int(len(data) * share)], name="a.jpg")
    assert str(caught.value).startswith("cannot read a.jpg: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff", "not a JPEG, PNG, WebP, BMP or TIFF picture"),
        (b"\xff\xd8\xff", "the picture is cut off"),
        (b"hello, world", "not a JPEG, PNG, WebP, BMP or TIFF picture"),
        (b"\x89PNG\r\n\x1a\n", "the picture is cut off"),
        (b"BM", "the picture is cut off"),
        (b"II*\x00\xff\xff\xff\xff", "the picture is cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG, WebP, BMP or TIFF"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_image(data, name="upload")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_one_pixel(suffix: str) -> None:
    image = decode_image(encode(suffix, np.full((1, 1, 3), 77, np.uint8)), name="x")
    assert image.shape == (1, 1, 3)
    np.testing.assert_allclose(image.astype(int), 77, atol=3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_gray_becomes_rgb(suffix: str) -> None:
    gray = picture()[:, :, 0]
    image = decode_image(encode(suffix, gray), name="x")
    assert image.shape == (40, 60, 3)
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


def test_alpha_is_dropped() -> None:
    alpha = np.zeros((40, 60, 1), np.uint8)
    image = decode_image(encode(".png", np.dstack([picture(), alpha])), name="x")
    np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight(suffix: str) -> None:
    deep = picture().astype(np.uint16) * 257
    image = decode_image(encode(suffix, deep), name="x")
    np.testing.assert_allclose(image.astype(int), picture(), atol=1)


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(CMYK, name="x")
    assert image.shape == (8, 16, 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [200, 30, 60], atol=12)


def test_the_exif_rotation_is_applied() -> None:
    # one directory, one entry: tag 0x112 (orientation), type SHORT, count 1, value 6
    tiff = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    payload = b"Exif\x00\x00" + tiff
    data = FORMATS["jpeg"]
    rotated = data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    image = decode_image(rotated, name="x")
    assert image.shape == (60, 40, 3)
    np.testing.assert_allclose(image.astype(int), np.rot90(picture(), -1), atol=16)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="60000x60000 is more than 100000000 pixels"):
        decode_image(bomb, name="bomb.png")


@pytest.mark.parametrize("name", FORMATS)
def test_the_limit_counts_pixels(name: str) -> None:
    decode_image(FORMATS[name], name="x", max_pixels=2400)
    with pytest.raises(ImageError, match="60x40 is more than 2399 pixels"):
        decode_image(FORMATS[name], name="x", max_pixels=2399)


@pytest.mark.parametrize("shape", [(1, 32_767), (32_767, 2)])
def test_a_side_that_opencv_cannot_warp_is_refused(shape: tuple[int, int]) -> None:
    height, width = shape
    with pytest.raises(ImageError, match=f"{width}x{height} has a side of more than 32766 pixels"):
        decode_image(encode(".png", np.zeros((*shape, 3), np.uint8)), name="panorama")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing\.jpg: no such file or directory"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)


def test_damaged_png_data_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(FORMATS["png"])
    data[60:90] = bytes(30)
    with pytest.raises(ImageError, match="damaged picture"):
        decode_image(bytes(data), name="x")
