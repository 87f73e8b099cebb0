"""The scans and the end of a JPEG, which Pillow does not report before decoding (ITU T.81).

Pillow reads the headers: size, components, progression, metadata. It counts no scans, of which a
bomb has thousands, and it refuses a JPEG that lacks nothing but its end marker as it does one that
lacks half of its pixels.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile

MAX_SCANS = 64  # libjpeg's progressive scripts have 10; each scan of a bomb costs a pass

_START_OF_SCAN = b"\xff\xda"
_END = b"\xff\xd9"
# bits that end no scan: where pixels are missing they decode to something, and to something else
# than the zeros that the decoder supplies
_FILLER = bytes((151 * i + 178) % 251 for i in range(500))
_RESTARTS = re.compile(rb"\xff([\xd0-\xd7])")


@dataclass(frozen=True, slots=True)
class JpegScans:
    """The scans of a JPEG.

    Attributes:
        end_at: byte where the end marker is, -1 where there is none.
        n: 1 in most photos; a progressive one has about ten.
        is_sequential: one scan that is not progressive: it decodes without a buffer of the whole.
        is_final: each component's last coefficients are in some scan.
    """

    end_at: int
    n: int
    is_sequential: bool
    is_final: bool


def read_scans(data: bytes, opened: "JpegImageFile") -> JpegScans:
    """Return what is known of the scans of a JPEG.

    Args:
        data: the file.
        opened: the same, opened by Pillow and not decoded: its stream is behind the first scan's
            header.

    Raises:
        ValueError: if there is no scan, or the header of one is cut off.
    """
    start = data.rfind(_START_OF_SCAN, 0, opened.fp.tell() if opened.fp else 0)
    if start < 0:
        raise ValueError("the JPEG has no scan")
    end_at = data.find(_END, start)
    headers = _scan_headers(data, start, len(data) if end_at < 0 else end_at)
    final: set[int] = set()
    try:
        for header in headers:
            final |= _final_components(header)
    except IndexError as error:
        raise ValueError("the header of a scan is cut off") from error
    return JpegScans(
        end_at=end_at,
        n=len(headers),
        is_sequential=len(headers) == 1 and "progressive" not in opened.info,
        is_final=len(final) == len(opened.layer),
    )


def completions(data: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without an end marker, completed in two ways.

    The decoder fills in missing data from the bytes that follow. If no pixel is missing, both
    decode to the same pixels, so that a photo that lacks only its end marker can be read.
    """
    end = data.rstrip(b"\xff")  # the first half of a marker
    # where whole intervals are missing, the decoder skips to the restart marker that comes next
    restarts = _RESTARTS.findall(end, end.rfind(_START_OF_SCAN))
    marker = bytes([0xFF, 0xD0 + (restarts[-1][0] + 1) % 8 if restarts else 0xD0])
    return end + _END, end + _FILLER + marker + _FILLER + _END


def _scan_headers(data: bytes, start: int, end: int) -> list[bytes]:
    """Return the header of each scan; in a scan's data 0xFF is followed by 0x00 or RSTn alone."""
    found: list[bytes] = []
    while len(found) <= MAX_SCANS and (start := data.find(_START_OF_SCAN, start, end)) >= 0:
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        found.append(data[start + 4 : start + 2 + length])
        start += 2 + length
    return found


def _final_components(header: bytes) -> set[int]:
    """Return the components of a scan that includes their last coefficients, to the last bit."""
    n = header[0]
    last, bits = header[2 + 2 * n], header[3 + 2 * n]
    if last < 63 or bits & 0x0F:  # Se, and Al of Ah and Al
        return set()
    return {header[1 + 2 * i] for i in range(n)}
