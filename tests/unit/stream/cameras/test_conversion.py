"""Colors, shapes and lines of decoded video, each made by FFmpeg's own encoders."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream.cameras.address import Deinterlace, SourceSettings, parse_address
from stream.cameras.av_source import AvSource, History
from stream.cameras.conversion import MAX_SIDE, Captured, Converter
from stream.frames import Matrix

RED = (255, 0, 0)


def write(
    path: Path,
    images: list[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    matrix: str = "ITU601",
    full: bool = False,
    tag: int | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of RGB images in a matrix; `tag` is the number signaled for it."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=100, options={"crf": "4", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if tag is not None:
            stream.codec_context.colorspace = tag
        if full:
            stream.codec_context.color_range = 2
        for number, image in enumerate(images):
            made = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=matrix,
                dst_color_range="JPEG" if full else "MPEG",
            )
            made.pts, made.time_base = number, Fraction(1, 100)
            out.mux(stream.encode(made))
        out.mux(stream.encode())
    return path


def frames_of(path: Path, settings: SourceSettings | None = None) -> list[Captured]:
    """The first frames of a file, two at most."""
    source = AvSource(
        parse_address(str(path)),
        clock=lambda: 0.0,
        settings=settings or SourceSettings(),
        history=History(),
    )
    frames = [source.read(), source.read()]
    source.close()
    return frames


def plain(
    height: int, width: int, color: tuple[int, int, int] = RED, n: int = 3
) -> list[np.ndarray]:
    return [np.full((height, width, 3), color, np.uint8)] * n


@pytest.mark.parametrize(
    ("height", "matrix", "tag", "full"),
    [
        # Untagged: BT.601 below 720 lines, BT.709 from there on.
        (360, "ITU601", None, False),
        (576, "ITU601", None, False),
        (720, "ITU709", None, False),
        (1080, "ITU709", None, False),
        # Tagged: as signaled, at any height, and in full range too.
        (360, "ITU709", 1, False),
        (720, "ITU601", 5, False),
        (720, "ITU601", 6, False),
        (360, "ITU709", 1, True),
        (720, "ITU601", 5, True),
    ],
)
def test_red_is_red(tmp_path: Path, height: int, matrix: str, tag: int | None, full: bool) -> None:
    path = write(tmp_path / "a.mp4", plain(height, 128), matrix=matrix, tag=tag, full=full)
    for frame in frames_of(path):
        np.testing.assert_allclose(frame.image[height // 2, 64], RED, atol=5)


def test_hevc_in_full_range_keeps_its_grays(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mp4",
        plain(128, 128, (10, 10, 10)),
        codec="libx265",
        full=True,
        options={"x265-params": "range=full:log-level=none"},
    )
    np.testing.assert_allclose(frames_of(path)[0].image[64, 64], (10, 10, 10), atol=3)


@pytest.mark.parametrize(
    ("size", "said", "setting", "expected"),
    [
        ((576, 704), Fraction(16, 11), None, (576, 1024)),
        ((288, 704), Fraction(1, 2), None, (576, 704)),
        ((144, 352), Fraction(2), None, (144, 704)),
        ((144, 352), None, None, (144, 352)),
        ((144, 352), Fraction(1), None, (144, 352)),
        # As good as square, and as good as impossible.
        ((144, 352), Fraction(100, 101), None, (144, 352)),
        ((144, 352), Fraction(20), None, (144, 352)),
        # The setting overrides the video.
        ((144, 352), Fraction(2), Fraction(1), (144, 352)),
        ((144, 352), None, Fraction(12, 11), (144, 384)),
        ((99, 101), None, None, (99, 101)),
    ],
)
def test_pixels_become_square(
    tmp_path: Path,
    size: tuple[int, int],
    said: Fraction | None,
    setting: Fraction | None,
    expected: tuple[int, int],
) -> None:
    pix_fmt = "yuv444p" if size[0] % 2 else "yuv420p"
    path = write(tmp_path / "a.mp4", plain(*size), aspect=said, pix_fmt=pix_fmt)
    (frame, _) = frames_of(path, SourceSettings(pixel_aspect=setting))
    assert frame.image.shape[:2] == expected


def test_a_frame_of_one_pixel(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", plain(1, 1), codec="ffv1", pix_fmt="bgr0", options={"crf": ""})
    assert frames_of(path)[0].image.shape == (1, 1, 3)


def test_8k_is_shrunk_to_what_memory_can_hold() -> None:
    picture = av.VideoFrame.from_ndarray(np.full((4320, 7680, 3), RED, np.uint8), format="rgb24")
    image = Converter(None, "auto").to_rgb(picture, None)
    assert image.shape == (2304, MAX_SIDE, 3)
    assert image[1000, 1000].tolist() == list(RED)


def combed(n: int) -> list[np.ndarray]:
    """A bar that moves by 16 pixels from field to field, woven into frames, the top field first."""
    images = []
    for number in range(n):
        image = np.zeros((96, 256, 3), np.uint8)
        for field in (0, 1):
            left = 32 * number + 16 * field
            image[field::2, left : left + 24] = 255
        images.append(image)
    return images


def combing(image: np.ndarray) -> float:
    """How much each line differs from both of its neighbors, gray levels."""
    lines = image[..., 1].astype(np.float32)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


@pytest.mark.parametrize(
    ("is_marked", "setting", "is_combed"),
    [
        (True, "auto", False),
        (True, "off", True),
        (False, "auto", True),
        (False, "on", False),
    ],
)
def test_interlaced_video_is_shown_without_combs(
    tmp_path: Path, is_marked: bool, setting: Deinterlace, is_combed: bool
) -> None:
    params = "tff=1:keyint=4" if is_marked else "keyint=4"
    path = write(tmp_path / "a.mp4", combed(6), options={"x264-params": params})
    frames = frames_of(path, SourceSettings(deinterlace=setting))
    assert (combing(frames[1].image) > 15) == is_combed
    # The bar is as wide as it was: no field is squeezed or doubled.
    assert frames[1].image.shape == (96, 256, 3)


def test_the_colors_of_interlaced_hd_are_those_of_hd(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mp4",
        plain(720, 128, n=6),
        matrix="ITU709",
        options={"x264-params": "tff=1:keyint=4"},
    )
    np.testing.assert_allclose(frames_of(path)[1].image[300, 64], RED, atol=5)


def converted(
    *, size: tuple[int, int] = (48, 64), pix_fmt: str = "yuv420p", matrix: int = 2, span: int = 0
) -> Captured:
    """Convert a gray frame of a height and a width with these color tags."""
    frame = av.VideoFrame(size[1], size[0], pix_fmt)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, span
    return Converter(None, "off").convert(frame, None, 7.0)


@pytest.mark.parametrize(
    ("given", "matrix"),
    [
        ({}, Matrix.BT601),
        ({"size": (720, 64)}, Matrix.BT709),
        ({"size": (720, 64), "matrix": 5}, Matrix.BT601),
        ({"size": (720, 64), "matrix": 6, "span": 1}, Matrix.BT601),
        ({"matrix": 1}, Matrix.BT709),
        # What encoders here lack: BT.2020, full range, fewer or more colors, half pixels of color.
        ({"matrix": 9}, None),
        ({"span": 2}, None),
        ({"pix_fmt": "yuv422p"}, None),
        ({"pix_fmt": "nv12"}, None),
        ({"pix_fmt": "gray"}, None),
        ({"size": (47, 64)}, None),
        ({"size": (48, 63)}, None),
    ],
)
def test_planes_come_along_where_an_encoder_takes_them(
    given: dict[str, Any], matrix: Matrix | None
) -> None:
    captured = converted(**given)
    assert captured.captured_at == 7.0
    if matrix is None:
        assert captured.planes is None
        return
    assert captured.planes is not None
    assert captured.planes.matrix is matrix
    picture = captured.planes.picture
    assert (picture.height, picture.width) == captured.image.shape[:2]


def test_an_image_of_another_shape_than_its_video_has_no_planes(tmp_path: Path) -> None:
    stretched = write(tmp_path / "a.mp4", plain(48, 64), aspect=Fraction(2))
    assert frames_of(stretched)[0].planes is None
    square = write(tmp_path / "b.mp4", plain(48, 64))
    assert frames_of(square)[0].planes is not None
    huge = av.VideoFrame(MAX_SIDE + 2, 48, "yuv420p")
    assert Converter(None, "off").convert(huge, None, 0.0).planes is None
