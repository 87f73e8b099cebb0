"""The frames of a `.rec` file: where records begin and end, and their bytes.

A record is one or more parts; a part is `magic, cflag << 29 | length, length bytes, padding to 4`,
little endian. Where a payload holds the magic word at a multiple of 4, the writer splits there and
leaves the word out; the reader puts it back.

Source: dmlc-core recordio.h; checked against MXNet 1.9.1.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trainer.errors import RecordError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
MAX_PART = (1 << 29) - 1  # lengths have 29 bits
WHOLE, FIRST, MIDDLE, LAST = range(4)  # cflag
HEADER = struct.Struct("<IfQQ")  # of an image record: flag, label, two ids

_PART = struct.Struct("<II")


def encode_parts(payload: bytes) -> bytes:
    """Return a payload as it stands in a `.rec` file: split, framed and padded.

    Raises:
        RecordError: if a part is longer than the format allows.
    """
    cuts = []
    at = payload.find(MAGIC_BYTES)
    while at >= 0:
        if at % 4 == 0:
            cuts.append(at)
            at = payload.find(MAGIC_BYTES, at + 4)
        else:
            at = payload.find(MAGIC_BYTES, at + 1)
    starts = [0, *(cut + 4 for cut in cuts)]
    ends = [*cuts, len(payload)]
    framed = bytearray()
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not cuts:
            cflag = WHOLE
        elif number == 0:
            cflag = FIRST
        else:
            cflag = LAST if number == len(cuts) else MIDDLE
        if end - start > MAX_PART:
            raise RecordError(f"record of {len(payload)} bytes is longer than the format allows")
        framed += _PART.pack(MAGIC, cflag << 29 | (end - start))
        framed += payload[start:end]
        framed += bytes(-(end - start) % 4)
    return bytes(framed)


def read_payload(stream: BinaryIO, *, name: str) -> bytes | None:
    """Read the record at the stream's position; None at the end of the file.

    Raises:
        RecordError: if the bytes there are no record or end in the middle of one.
    """
    parts: list[bytes] = []
    while True:
        at = stream.tell()
        head = stream.read(_PART.size)
        if not head and not parts:
            return None
        if len(head) < _PART.size:
            raise RecordError(f"{name} is cut off at byte {at}")
        magic, lrec = _PART.unpack(head)
        if magic != MAGIC:
            raise RecordError(f"{name} holds no record at byte {at} (damaged, or a wrong .idx)")
        cflag, length = lrec >> 29, lrec & MAX_PART
        if (cflag in (MIDDLE, LAST)) != bool(parts) or cflag > LAST:
            raise RecordError(f"{name} holds a part out of order at byte {at}")
        padded = stream.read(length + -length % 4)
        if len(padded) < length:
            raise RecordError(f"{name} is cut off at byte {at}")
        parts.append(padded[:length])
        if cflag in (WHOLE, LAST):
            return MAGIC_BYTES.join(parts)


def scan_records(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the byte position and record id of every whole record, in the order of the file.

    After damage the scan continues at the next record that is whole.

    Raises:
        RecordError: if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if not os.fstat(stream.fileno()).st_size:
                return
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                at = 0
                while 0 <= at < len(data):
                    end = _end_of_record(data, at)
                    if end:
                        if _PART.unpack_from(data, at)[1] & MAX_PART >= HEADER.size:
                            yield at, HEADER.unpack_from(data, at + _PART.size)[2]
                        at = end
                    else:
                        at = data.find(MAGIC_BYTES, at + 1)
                        while at % 4 and at > 0:
                            at = data.find(MAGIC_BYTES, at + 1)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error


def _end_of_record(data: mmap.mmap, at: int) -> int:
    """Return the byte after the record that begins at `at`; 0 where none does."""
    is_first = True
    while at + _PART.size <= len(data):
        magic, lrec = _PART.unpack_from(data, at)
        cflag, length = lrec >> 29, lrec & MAX_PART
        if magic != MAGIC or cflag > LAST or (cflag in (WHOLE, FIRST)) != is_first:
            return 0
        if at + _PART.size + length > len(data):
            return 0
        at += _PART.size + length + -length % 4
        is_first = False
        if cflag in (WHOLE, LAST):
            return at
    return 0
