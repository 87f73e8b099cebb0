"""RecordIO, byte by byte: `.rec` files of records, `.idx` files of their offsets.

A record is one or more parts; a part is `magic, cflag << 29 | length, length bytes, padding to 4`,
little endian. Where a payload holds the magic word at a multiple of 4, the writer splits there and
leaves the word out; the reader puts it back. Sets written here are read by MXNet, and its by us.

Source: dmlc-core recordio.h and mxnet.recordio.IRHeader; checked against MXNet 1.9.1.
"""

import logging
import mmap
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from trainer.errors import RecordError

logger = logging.getLogger(__name__)

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
MAX_PART = (1 << 29) - 1  # lengths have 29 bits
MAX_OFFSET = (1 << 62) - 1  # of a key or position in an index
WHOLE, FIRST, MIDDLE, LAST = range(4)  # cflag

_PART = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """An MXNet image record: labels, ids, and the encoded image.

    Attributes:
        labels: one value, or any number of them. They are float32 in the file: integers above
            16,777,216 are rounded there.
        record_id: 64-bit.
        second_id: 64-bit.
        image: the encoded image, JPEG or PNG; empty in header and identity records.
        is_vector: written as a vector even if there is one label (flag > 0 in the file).
    """

    labels: tuple[float, ...]
    record_id: int
    image: bytes
    second_id: int = 0
    is_vector: bool = False


def pack_record(record: Record) -> bytes:
    """Return the payload of a record."""
    if len(record.labels) == 1 and not record.is_vector:
        return _HEADER.pack(0, record.labels[0], record.record_id, record.second_id) + record.image
    labels = np.array(record.labels, "<f4")
    header = _HEADER.pack(len(labels), 0.0, record.record_id, record.second_id)
    return header + labels.tobytes() + record.image


def unpack_record(payload: bytes) -> Record:
    """Read a payload.

    Raises:
        RecordError: if it is too short for its header.
    """
    if len(payload) < _HEADER.size:
        raise RecordError(f"record of {len(payload)} bytes is shorter than its header")
    flag, label, record_id, second_id = _HEADER.unpack_from(payload)
    if flag == 0:
        return Record((label,), record_id, payload[_HEADER.size :], second_id)
    end = _HEADER.size + 4 * flag
    if len(payload) < end:
        raise RecordError(f"record of {len(payload)} bytes is too short for {flag} labels")
    labels = np.frombuffer(payload, "<f4", flag, _HEADER.size)
    return Record(tuple(labels.tolist()), record_id, payload[end:], second_id, is_vector=True)


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
                        if _PART.unpack_from(data, at)[1] & MAX_PART >= _HEADER.size:
                            yield at, _HEADER.unpack_from(data, at + _PART.size)[2]
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


def scan_index(path: Path) -> "Index":
    """Make an index of a `.rec` file: keys are the record ids, or places where ids repeat.

    Raises:
        RecordError: if the file cannot be read.
    """
    offsets, ids = array("q"), array("Q")
    for offset, record_id in scan_records(path):
        offsets.append(offset)
        ids.append(record_id)
    keys = np.array(ids, np.uint64)
    is_unique = len(np.unique(keys)) == len(keys) and (keys <= MAX_OFFSET).all()
    return Index(
        keys.astype(np.int64) if is_unique else np.arange(len(keys)), np.array(offsets, np.int64)
    )


class Closing:
    """A context manager that closes itself when it is left."""

    def close(self) -> None:
        """Let go of the files."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


class RecordReader(Closing):
    """Random access to a `.rec` file by its `.idx`; without one the file is scanned.

    It may be handed to other processes, forked or spawned: each opens the file for itself, because
    processes that share one descriptor also share its position.

    Attributes:
        path: of the `.rec` file.
        offsets: byte position of each record by its key, in the order of the `.idx`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        index = path.with_suffix(".idx")
        if index.exists() or not path.exists():
            self.offsets = read_index(index)
        else:
            logger.warning("there is no %s: reading all of %s instead", index, path.name)
            self.offsets = scan_index(path)
        self._stream: BinaryIO | None = None
        self._pid = 0

    def read(self, key: int) -> Record:
        """Return the record of a key.

        Raises:
            RecordError: if there is no such key, or the record is damaged.
        """
        if key not in self.offsets:
            raise RecordError(f"{self.path} has no record {key}")
        stream = self._open()
        stream.seek(self.offsets[key])
        payload = read_payload(stream, name=str(self.path))
        if payload is None:
            raise RecordError(f"{self.path} ends before record {key} (a wrong .idx?)")
        try:
            return unpack_record(payload)
        except RecordError as error:
            raise RecordError(f"{self.path}, record {key}: {error}") from error

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._stream:
            self._stream.close()
        self._stream = None

    def __del__(self) -> None:
        if getattr(self, "_stream", None):  # __init__ may have failed
            self.close()

    def _open(self) -> BinaryIO:
        if self._stream is None or self._pid != os.getpid():
            self.close()
            try:
                self._stream = self.path.open("rb")
            except OSError as error:
                raise RecordError(f"cannot read {self.path}: {error.strerror}") from error
            self._pid = os.getpid()
        return self._stream

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_stream": None}


class RecordWriter(Closing):
    """Writes a `.rec` file and its `.idx` record by record; a context manager."""

    def __init__(self, path: Path) -> None:
        self._rec = path.open("wb")
        self._idx = path.with_suffix(".idx").open("w", encoding="ascii", newline="\n")

    def write(self, key: int, record: Record) -> None:
        """Append a record under a key."""
        self._idx.write(f"{key}\t{self._rec.tell()}\n")
        self._rec.write(encode_parts(pack_record(record)))

    def close(self) -> None:
        """Flush and close both files."""
        self._rec.close()
        self._idx.close()


class Index(Mapping[int, int]):
    """Byte position of each record by its key, in two arrays.

    A dictionary of the 5.8 million records of MS1M takes 0.8 GB, and as much again in each forked
    worker, because reading an entry writes its reference count and so copies its page.

    Args:
        keys: (N,) int64, each once, in the order of the file.
        offsets: (N,) int64 bytes.
    """

    def __init__(self, keys: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        self._keys = smallest(keys)
        self._offsets = smallest(offsets)
        is_sorted = bool((keys[1:] > keys[:-1]).all())
        self._order = None if is_sorted else smallest(np.argsort(keys, kind="stable"))

    @property
    def keys_array(self) -> NDArray[np.integer[Any]]:
        """(N,) keys in the order of the file."""
        return self._keys

    def __getitem__(self, key: int) -> int:
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        return int(self._offsets[place])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int | np.integer) and self._place(int(key)) is not None

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys.tolist())

    def __len__(self) -> int:
        return len(self._keys)

    def _place(self, key: int) -> int | None:
        if not len(self._keys) or not 0 <= key <= np.iinfo(self._keys.dtype).max:
            return None
        wanted = self._keys.dtype.type(key)  # of the same type: else the whole array is converted
        place = int(np.searchsorted(self._keys, wanted, sorter=self._order))
        if place == len(self._keys):
            return None
        if self._order is not None:
            place = int(self._order[place])
        return place if self._keys[place] == wanted else None


def smallest(values: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Return whole numbers of 0 or more in 4 bytes each where they fit, else in 8; read-only."""
    is_small = not len(values) or int(values.max()) < 2**32
    held: NDArray[np.integer[Any]] = values.astype(np.uint32 if is_small else np.int64)
    held.flags.writeable = False
    return held


def read_index(path: Path) -> Index:
    """Read `KEY<tab>OFFSET` lines; the last line may be cut off in an unfinished set.

    Raises:
        RecordError: if the file is missing or another line is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    if not data.isascii():
        raise RecordError(f"{path} is not an index of records")
    data = data[: data.rfind(b"\n") + 1].replace(b"\r\n", b"\n")
    values = _plain_index(data)
    if values is None:
        values = _odd_index(data, path)
    keys, offsets = values[:, 0], values[:, 1]
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    if len(last) != len(keys):  # a key twice: the later one counts, in the place of the first
        kept = dict(zip(keys.tolist(), offsets.tolist(), strict=True))
        keys, offsets = np.array(list(kept), np.int64), np.array(list(kept.values()), np.int64)
    return Index(keys, offsets)


def _plain_index(data: bytes) -> NDArray[np.int64] | None:
    """Parse an index that holds digits, one tab and one line end in each line; None for others."""
    letters = np.frombuffer(data, np.uint8)
    separators = np.flatnonzero(letters < ord("0"))
    ends = np.diff(separators, prepend=-1) - 1  # lengths of the numbers
    is_plain = (
        not (letters > ord("9")).any()
        and len(separators) % 2 == 0
        and (letters[separators[::2]] == ord("\t")).all()
        and (letters[separators[1::2]] == ord("\n")).all()
        and ((ends > 0) & (ends < 19)).all()
    )
    if not is_plain:
        return None
    return np.fromstring(data.decode("ascii"), np.int64, sep="\t").reshape(-1, 2)


def _odd_index(data: bytes, path: Path) -> NDArray[np.int64]:
    """Parse an index line by line: one written by hand may have any spacing."""
    rows = []
    for number, line in enumerate(data.decode("ascii").splitlines(), 1):
        key, _, offset = line.strip().partition("\t")
        is_whole = key.isascii() and key.isdigit() and offset.isascii() and offset.isdigit()
        if not is_whole or max(int(key[:20]), int(offset[:20])) > MAX_OFFSET:
            raise RecordError(
                f"{path}, line {number}: expected KEY<tab>OFFSET, got {line.strip()[:80]!r}"
            )
        rows.append((int(key), int(offset)))
    return np.array(rows, np.int64).reshape(-1, 2)
