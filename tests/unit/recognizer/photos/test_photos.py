import base64
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from recognizer.errors import ImageError
from recognizer.photos import photos as images
from recognizer.photos.photos import decode_image, decode_photo, read_image
from tests.heic import heic

# 16x8 CMYK JPEG of one color, about RGB (200, 30, 60)
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


def saved(image: np.ndarray | Pillow.Image, kind: str, **options: Any) -> bytes:
    """Encode by Pillow."""
    stream = io.BytesIO()
    (image if isinstance(image, Pillow.Image) else Pillow.fromarray(image)).save(
        stream, kind, **options
    )
    return stream.getvalue()


def exif(orientation: int) -> Pillow.Exif:
    found = Pillow.Exif()
    found[0x112] = orientation
    return found


FORMATS = {
    "jpeg": encode(".jpg", picture(), cv2.IMWRITE_JPEG_QUALITY, 98),
    "progressive jpeg": encode(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": encode(".png", picture()),
    "bmp": encode(".bmp", picture()),
    "tiff": encode(".tiff", picture()),
    "webp": encode(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 95),
    "lossless webp": encode(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 101),
    "heic": heic(picture()),
    "avif": saved(picture(), "AVIF", quality=95),
    "gif": saved(picture(), "GIF"),
    "jpeg 2000": saved(picture(), "JPEG2000"),
    "jpeg 2000 without a container": saved(picture(), "JPEG2000", no_jp2=True),
    "mpo": saved(
        picture(),
        "MPO",
        save_all=True,
        append_images=[Pillow.fromarray(picture()[::-1])],
        quality=95,
    ),
}
ANIMATED = ("gif", "webp", "png", "avif")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_rgb(name: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(FORMATS[name])
    image = read_image(path)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), picture(), atol=16)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"mpo"}))  # of several whole JPEGs
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.97])
def test_a_cut_off_picture_is_refused_in_one_line(
    name: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = FORMATS[name]
    with pytest.raises(ImageError) as caught:
        decode_image(data[: int(len(data) * share)], name="a.jpg")
    assert capfd.readouterr() == ("", "")
    assert str(caught.value).startswith("cannot read a.jpg: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff", "not a JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF, BMP or JPEG 2000 photo"),
        (b"\xff\xd8\xff", "the photo is cut off or damaged"),
        (b"hello, world", "not a JPEG, PNG, .* photo"),
        (b"\x89PNG\r\n\x1a\n", "the photo is cut off or damaged"),
        (b"BM", "the photo is cut off or damaged"),
        (b"II*\x00\xff\xff\xff\xff", "the photo is cut off or damaged"),
        (b"GIF89a", "the photo is cut off or damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "the photo is cut off or damaged"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "the photo is cut off or damaged"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "not a JPEG, PNG, .* photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a JPEG, PNG, .* photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG, .* photo"),
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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_transparent_pixels_keep_their_color(kind: str, value: int) -> None:
    layers = Pillow.fromarray(np.dstack([picture(), np.full((40, 60), 255, np.uint8)]))
    layers.putalpha(value)
    options = {"exact": True, "lossless": True} if kind == "WEBP" else {}
    image = decode_image(saved(layers, kind, **options), name="x")
    np.testing.assert_allclose(image.astype(int), picture(), atol=16)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight(suffix: str) -> None:
    deep = picture().astype(np.uint16) * 257
    image = decode_image(encode(suffix, deep), name="x")
    np.testing.assert_allclose(image.astype(int), picture(), atol=1)


@pytest.mark.parametrize(
    ("kind", "levels", "white"),
    [
        ("PNG", np.uint16, 65535),
        ("TIFF", np.uint16, 65535),
        ("JPEG2000", np.uint16, 65535),
        ("TIFF", np.int32, 65535),
        ("TIFF", np.float32, 1),
    ],
)
def test_deep_gray_becomes_eight_bits(kind: str, levels: type, white: float) -> None:
    gray = picture()[:, :, 0]
    deep = (gray.astype(np.float64) / 255 * white).astype(levels)
    image = decode_image(saved(deep, kind), name="x")
    np.testing.assert_allclose(image.astype(int), np.dstack([gray] * 3), atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA"])
def test_every_kind_of_pixels_becomes_rgb(mode: str) -> None:
    source = Pillow.fromarray(picture())
    plain = source.convert(mode) if mode != "PA" else source.convert("P").convert("PA")
    expected = np.asarray(plain.convert("L" if mode in ("1", "LA") else "RGB").convert("RGB"))
    image = decode_image(saved(plain, "PNG" if mode != "PA" else "TIFF"), name="x")
    np.testing.assert_array_equal(image, expected)


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(CMYK, name="x")
    assert image.shape == (8, 16, 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [200, 30, 60], atol=12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_color_profile_is_converted_to_srgb(kind: str) -> None:
    flat = np.full((16, 16, 3), [120, 130, 60], np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"xXYZ").replace(b"bXYZ", b"rXYZ").replace(b"xXYZ", b"bXYZ")
    seen = decode_image(saved(flat, kind, icc_profile=swapped), name="x")
    np.testing.assert_allclose(seen.astype(int), flat[:, :, ::-1], atol=8)
    for useless in (srgb, b"no profile", swapped[:100]):
        seen = decode_image(saved(flat, kind, icc_profile=useless), name="x")
        np.testing.assert_allclose(seen.astype(int), flat, atol=6)


def _jpeg_2000_with_exif(orientation: int) -> bytes:
    tiff = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    box = b"uuid" + b"JpgTiffExif->JP2" + tiff
    data = FORMATS["jpeg 2000"]
    at = data.index(b"jp2c") - 4
    return data[:at] + struct.pack(">I", 4 + len(box)) + box + data[at:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    if kind == "JPEG2000":
        data = _jpeg_2000_with_exif(orientation)
    else:
        options = {"quality": 95} if kind in ("JPEG", "MPO", "WEBP", "AVIF") else {}
        data = saved(picture(), kind, exif=exif(orientation), **options)
    upright = {
        1: picture(),
        2: picture()[:, ::-1],
        3: picture()[::-1, ::-1],
        4: picture()[::-1],
        5: picture().transpose(1, 0, 2),
        6: np.rot90(picture(), -1),
        7: np.rot90(picture(), 2).transpose(1, 0, 2),
        8: np.rot90(picture()),
    }[orientation]
    image = decode_image(data, name="x")
    assert image.shape == upright.shape
    np.testing.assert_allclose(image.astype(int), upright, atol=20)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_the_rotation_and_mirroring_of_heif_are_applied(turns: int, mirror: int | None) -> None:
    upright = np.rot90(picture(), turns)
    if mirror is not None:
        upright = np.flip(upright, mirror)
    image = decode_image(heic(picture(), quarter_turns=turns, mirror=mirror), name="x")
    assert image.shape == upright.shape
    np.testing.assert_allclose(image.astype(int), upright, atol=16)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_ignored(value: int) -> None:
    image = decode_image(saved(picture(), "JPEG", exif=exif(value), quality=95), name="x")
    np.testing.assert_allclose(image.astype(int), picture(), atol=16)


def test_damaged_metadata_do_not_cost_the_photo() -> None:
    payload = b"Exif\0\0II*\0" + bytes([255]) * 40
    data = FORMATS["jpeg"]
    spoiled = data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    np.testing.assert_array_equal(decode_image(spoiled, name="x"), decode_image(data, name="x"))


@pytest.mark.parametrize("kind", ANIMATED)
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Pillow.fromarray(picture()), Pillow.fromarray(255 - picture())]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode_image(data, name="x").astype(int), picture(), atol=20)


SEQUENTIAL: dict[str, dict[str, Any]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
    "restarts by block": {"restart_marker_blocks": 3},
    "gray with restarts": {"restart_marker_rows": 1},
    "gray": {},
    "full color": {"subsampling": 0},
}


def _jpeg(name: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 40, (67, 93, 3))
    image = (picture(67, 93) // 2 + noise).astype(np.uint8)
    return saved(image[:, :, 0] if name.startswith("gray") else image, "JPEG", **SEQUENTIAL[name])


@pytest.mark.parametrize("name", SEQUENTIAL)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(
    name: str, lost: int, capfd: pytest.CaptureFixture[str]
) -> None:
    data = _jpeg(name)
    image = decode_image(data[:-lost], name="x")
    np.testing.assert_array_equal(image, decode_image(data, name="x"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_jpeg_that_lacks_pixels_is_refused_wherever_it_is_cut(name: str) -> None:
    data = _jpeg(name)
    whole = decode_image(data, name="x")
    start, n_read = data.index(b"\xff\xda"), 0
    for end in range(len(data) - 3, start, -1 if "restarts" in name else -3):
        with suppress(ImageError):  # what is lost may lie outside the image, in its last block
            np.testing.assert_array_equal(decode_image(data[:end], name="x"), whole)
            n_read += 1
    assert n_read <= 3


def test_a_small_picture_within_a_jpeg_is_not_its_end() -> None:
    thumbnail = Pillow.fromarray(picture(8, 8))
    info = exif(1)
    data = saved(picture(), "JPEG", exif=info.tobytes(), comment=saved(thumbnail, "JPEG"))
    with pytest.raises(ImageError, match="cut off"):
        decode_image(data[: -len(data) // 8], name="x")


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match="60000x60000 is more than 110 megapixels"):
        decode_image(_png_header(60_000, 60_000), name="bomb.png")


def test_a_jpeg_of_many_scans_is_refused() -> None:
    data = FORMATS["progressive jpeg"]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="more than 64 scans"):
        decode_image(data[:last] + data[last:-2] * 100 + data[-2:], name="x")


@pytest.mark.parametrize("name", FORMATS)
def test_the_limit_counts_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = "MAX_PIXELS" if name in ("jpeg", "mpo") else "MAX_WHOLE_PIXELS"
    monkeypatch.setattr(images, limit, 2400)
    decode_image(FORMATS[name], name="x")
    monkeypatch.setattr(images, limit, 2399)
    with pytest.raises(ImageError, match="60x40 is more than 0 megapixels"):
        decode_image(FORMATS[name], name="x")


@pytest.mark.parametrize("name", FORMATS)
def test_more_pixels_than_are_of_use_are_decoded_at_half_the_size(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FULL_PIXELS", 2399)
    photo = decode_photo(FORMATS[name], name="x")
    assert photo.image.shape == (20, 30, 3)
    assert photo.scale == 2
    half = cv2.resize(picture(), (30, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(photo.image.astype(int), half, atol=16)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixels_is_reduced(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FULL_PIXELS", 2399)
    layers = Pillow.fromarray(picture())
    source = layers.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        source = Pillow.fromarray(np.asarray(source).astype(np.uint16) * 257)
    image = decode_image(saved(source, "TIFF" if mode == "CMYK" else "PNG"), name="x")
    plain = layers.convert(mode if mode in ("1", "P") else "L").convert("RGB")
    expected = picture() if mode in ("RGBA", "CMYK") else np.asarray(plain)
    half = cv2.resize(expected, (30, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(image.astype(int), half, atol=3)


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(("width", "height"), [(12_000, 9_000), (16_320, 12_240)])
@pytest.mark.slow
def test_phones_of_108_and_200_megapixels_are_read(width: int, height: int, turned: int) -> None:
    flat = Pillow.new("RGB", (width, height), (200, 150, 100))
    flat.paste((20, 30, 40), (0, 0, width // 2, height))
    photo = decode_photo(saved(flat, "JPEG", exif=exif(turned)), name="x")
    assert photo.scale == 2
    size = (height // 2, width // 2)
    assert photo.image.shape[:2] == (size if turned == 1 else size[::-1])
    assert photo.image.nbytes <= 200_000_000
    np.testing.assert_allclose(photo.image[100, 100].astype(int), [20, 30, 40], atol=3)
    np.testing.assert_allclose(photo.image[-100, -100].astype(int), [200, 150, 100], atol=3)


@pytest.mark.parametrize("shape", [(1, 32_767), (32_767, 2)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_side_that_opencv_cannot_warp_is_reduced(kind: str, shape: tuple[int, int]) -> None:
    photo = decode_photo(saved(np.full((*shape, 3), 99, np.uint8), kind), name="panorama")
    assert max(photo.image.shape) == 16_384
    np.testing.assert_allclose(photo.image.astype(int), 99, atol=2)


def test_a_side_beyond_any_reduction_is_refused() -> None:
    with pytest.raises(ImageError, match="300000x1 has a side of more than 262128 pixels"):
        decode_image(_png_header(300_000, 1), name="panorama")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing\.jpg: no such file or directory"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)


def test_damaged_png_data_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(FORMATS["png"])
    data[60:90] = bytes(30)
    with pytest.raises(ImageError, match="the photo is cut off or damaged"):
        decode_image(bytes(data), name="x")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FORMATS)
def test_random_damage_gives_a_photo_or_one_line(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(2)
    for _ in range(150):
        data = bytearray(FORMATS[name])
        for _ in range(random.integers(1, 8)):
            data[random.integers(len(data))] = random.integers(256)
        with suppress(ImageError):
            assert decode_image(bytes(data), name="x").shape[2] == 3
    if name != "tiff":  # libtiff within Pillow prints its complaints
        assert capfd.readouterr() == ("", "")
