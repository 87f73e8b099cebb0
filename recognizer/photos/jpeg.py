"""The structure of a JPEG file: what can be known about it without decoding (ITU T.81)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SCANS = 64  # libjpeg's progressive scripts have 10; each scan of a bomb costs a pass

_START_OF_SCAN, _DEFINE_RESTART = 0xDA, 0xDD
_END = b"\xff\xd9"
# markers that start a frame: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = frozenset([0xC0, 0xC1])
# markers that stand alone, without a length: TEM, RST0..RST7, SOI
_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
# bits that end no scan: where pixels are missing they decode to something, and to something else
# than the zeros that the decoder supplies
_FILLER = bytes((151 * i + 178) % 251 for i in range(500))


@dataclass(frozen=True, slots=True)
class JpegStructure:
    """What the headers of a JPEG say.

    Attributes:
        scans_at: byte where the first scan starts, at its marker.
        end_at: byte where the end marker is, -1 where there is none.
        n_scans: 1 in most photos; a progressive one has about ten.
        is_sequential: one scan of a baseline frame, which decodes without a buffer of the whole.
        is_final: each component's last coefficients are in some scan.
        n_restarts: restart markers that a single scan must have; 0 where it needs none.
    """

    scans_at: int
    end_at: int
    n_scans: int
    is_sequential: bool
    is_final: bool
    n_restarts: int


def read_structure(data: bytes) -> JpegStructure:
    """Return the structure of a JPEG.

    Raises:
        ValueError: if the headers are cut off or contradictory.
    """
    try:
        return _read(data)
    except (struct.error, IndexError, ZeroDivisionError) as error:
        raise ValueError("the headers of the JPEG are cut off") from error


def completions(data: bytes, structure: JpegStructure) -> tuple[bytes, bytes] | None:
    """Return a JPEG without an end marker completed in two ways; None if it is surely cut off.

    The decoder supplies what is missing from what follows. Where no pixel is missing both decode
    to the same pixels, so that a photo whose end marker alone was lost can be taken.
    """
    end = data.rstrip(b"\xff")  # the first half of a marker
    if not structure.is_final:
        return None
    if structure.n_restarts:
        scan = data[structure.scans_at :]
        if sum(scan.count(bytes([0xFF, 0xD0 + i])) for i in range(8)) < structure.n_restarts:
            return None
    return end + _END, end + _FILLER + _END


def _read(data: bytes) -> JpegStructure:
    frame, interval = b"", 0
    is_baseline = False
    scans_at = 0
    for marker, body, position in _segments(data):
        if marker in _FRAMES:
            frame, is_baseline = body, marker in _BASELINE
        elif marker == _DEFINE_RESTART:
            (interval,) = struct.unpack(">H", body[:2])
        elif marker == _START_OF_SCAN:
            scans_at = position
            break
    n_components = frame[5]
    end_at = data.find(_END, scans_at)
    scans = _scans(data, scans_at, len(data) if end_at < 0 else end_at)
    n_restarts = 0
    if interval and len(scans) == 1:
        n_restarts = -(-_n_units(frame) // interval) - 1
    return JpegStructure(
        scans_at=scans_at,
        end_at=end_at,
        n_scans=len(scans),
        is_sequential=is_baseline and len(scans) == 1,
        is_final=_is_final(scans, n_components),
        n_restarts=n_restarts,
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield each segment's marker, body, and the byte where it starts."""
    position = 2
    while True:
        while data[position] == 0xFF:  # fill bytes may precede a marker
            position += 1
        marker = data[position]
        position += 1
        if marker in _BARE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, data[position + 2 : position + length], position - 2
        position += length


def _scans(data: bytes, start: int, end: int) -> list[bytes]:
    """Return the header of each scan; in a scan's data 0xFF is followed by 0x00 or RSTn alone."""
    found: list[bytes] = []
    while len(found) <= MAX_SCANS and (start := data.find(b"\xff\xda", start, end)) >= 0:
        (length,) = struct.unpack_from(">H", data, start + 2)
        found.append(data[start + 4 : start + 2 + length])
        start += 2 + length
    return found


def _is_final(scans: list[bytes], n_components: int) -> bool:
    done = set()
    for scan in scans:
        n = scan[0]
        _, last, bits = scan[1 + 2 * n : 4 + 2 * n]
        if last == 63 and bits & 0x0F == 0:  # Se, and Al of Ah and Al
            done |= {scan[1 + 2 * i] for i in range(n)}
    return len(done) == n_components


def _n_units(frame: bytes) -> int:
    """Return how many minimum coded units the one scan of a frame has (section A.2)."""
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (1, 3))
    n = frame[5]
    factors = [frame[7 + 3 * i] for i in range(n)]
    across, down = max(f >> 4 for f in factors), max(f & 15 for f in factors)
    if n == 1:
        across = down = 1
    return -(-width // (8 * across)) * -(-height // (8 * down))
