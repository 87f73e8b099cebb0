"""HEIC files for tests: an HEVC keyframe in a container of ISO/IEC 23008-12, as of phones."""

import struct
from fractions import Fraction

import av
import numpy as np


def heic(image: np.ndarray, *, quarter_turns: int = 0, mirror: int | None = None) -> bytes:
    """Return a HEIC file.

    Args:
        image: (H, W, 3) uint8 RGB, sides even.
        quarter_turns: counterclockwise, that readers must apply (irot).
        mirror: 0 to swap top and bottom, 1 to swap left and right after that (imir).
    """
    height, width = image.shape[:2]
    record, payload = _hevc(image)
    properties = [
        _box(b"hvcC", record),
        _full_box(b"ispe", struct.pack(">II", width, height)),
    ]
    if quarter_turns:
        properties.append(_box(b"irot", bytes([quarter_turns])))
    if mirror is not None:
        properties.append(_box(b"imir", bytes([mirror])))
    essential = [0x80 | 1, 2, *(0x80 | number for number in range(3, len(properties) + 1))]
    associations = struct.pack(">IHB", 1, 1, len(essential)) + bytes(essential)
    item = _full_box(b"infe", struct.pack(">HH", 1, 0) + b"hvc1\0", version=2)

    def meta(at: int) -> bytes:
        location = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, at, len(payload))
        return _full_box(
            b"meta",
            _full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"))
            + _full_box(b"pitm", struct.pack(">H", 1))
            + _full_box(b"iinf", struct.pack(">H", 1) + item)
            + _full_box(b"iloc", location)
            + _box(
                b"iprp",
                _box(b"ipco", b"".join(properties)) + _full_box(b"ipma", associations),
            ),
        )

    start = _box(b"ftyp", b"heic" + struct.pack(">I", 0) + b"mif1heic")
    return start + meta(len(start) + len(meta(0)) + 8) + _box(b"mdat", payload)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full_box(kind: bytes, body: bytes, *, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + body)


def _hevc(image: np.ndarray) -> tuple[bytes, bytes]:
    """Return the decoder configuration record and the samples of one keyframe."""
    height, width = image.shape[:2]
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"crf": "4", "preset": "ultrafast", "x265-params": "log-level=none:info=0"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
    stream = b"".join(bytes(p) for f in (frame, None) for p in encoder.encode(f))
    units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1") if unit.strip(b"\0")]
    kinds = [unit[0] >> 1 & 0x3F for unit in units]
    parameters = {
        kind: unit for kind, unit in zip(kinds, units, strict=True) if kind in (32, 33, 34)
    }
    profile = parameters[33].replace(b"\0\0\3", b"\0\0")[3:15]  # of the SPS
    record = b"\1" + profile + bytes([0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 3])
    for kind, unit in sorted(parameters.items()):
        record += struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit
    slices = [unit for unit, kind in zip(units, kinds, strict=True) if kind < 32]
    return record, b"".join(struct.pack(">I", len(unit)) + unit for unit in slices)
