"""Scalars for TensorBoard in its own file format: its package brings a server, gRPC and more.

A file is a row of records, each an Event message of protocol buffers.

Source: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

CRC_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
CRC_MASK = 0xA282EAD8
SESSION_START = 1  # of SessionLog: what the directory holds from this step on is void
_WHOLE, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CRC_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + CRC_MASK) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, wire: int, value: bytes) -> bytes:
    length = _varint(len(value)) if wire == _BYTES else b""
    return _varint(number << 3 | wire) + length + value


def _event(now: float, step: int, what: bytes) -> bytes:
    event = _field(1, _DOUBLE, struct.pack("<d", now))
    if step:
        event += _field(2, _WHOLE, _varint(step))
    event += what
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + _masked(event)


class EventLog:
    """One file of a run, made by the first `add`; a run that goes on begins another beside it.

    Args:
        directory: TensorBoard's --logdir, or below it; made where it is missing.
        now: seconds since 1970.
        purge_step: what older files hold from this step on is void; 0 for nothing.
    """

    def __init__(self, directory: Path, *, now: float, purge_step: int = 0) -> None:
        # TensorBoard reads files by name, so that a later one counts after the earlier
        self.path = directory / f"events.out.tfevents.{int(now * 1e6):017d}.facewire"
        self._head = _event(now, 0, _field(3, _BYTES, b"brain.Event:2"))
        if purge_step:
            start = _field(7, _BYTES, _field(1, _WHOLE, _varint(SESSION_START)))
            self._head += _event(now, purge_step, start)

    def add(self, step: int, values: Mapping[str, float], *, now: float) -> None:
        """Append the values of a step by their tags.

        Raises:
            OSError: if the file cannot be written.
        """
        summary = b"".join(
            _field(
                1,
                _BYTES,
                _field(1, _BYTES, tag.encode()) + _field(2, _FLOAT, struct.pack("<f", value)),
            )
            for tag, value in values.items()
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(self._head + _event(now, step, _field(5, _BYTES, summary)))
        self._head = b""
