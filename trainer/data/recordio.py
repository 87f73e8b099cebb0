"""RecordIO: image records in `.rec` files, found by the `.idx` files of their offsets.

Sets written here are read by MXNet, and its by us.

Source: mxnet.recordio.IRHeader; checked against MXNet 1.9.1.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from trainer.data.framing import HEADER, encode_parts, read_payload
from trainer.data.index import Index, open_index
from trainer.errors import RecordError


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
        return HEADER.pack(0, record.labels[0], record.record_id, record.second_id) + record.image
    labels = np.array(record.labels, "<f4")
    header = HEADER.pack(len(labels), 0.0, record.record_id, record.second_id)
    return header + labels.tobytes() + record.image


def unpack_record(payload: bytes) -> Record:
    """Read a payload.

    Raises:
        RecordError: if it is too short for its header.
    """
    if len(payload) < HEADER.size:
        raise RecordError(f"record of {len(payload)} bytes is shorter than its header")
    flag, label, record_id, second_id = HEADER.unpack_from(payload)
    if flag == 0:
        return Record((label,), record_id, payload[HEADER.size :], second_id)
    end = HEADER.size + 4 * flag
    if len(payload) < end:
        raise RecordError(f"record of {len(payload)} bytes is too short for {flag} labels")
    labels = np.frombuffer(payload, "<f4", flag, HEADER.size)
    return Record(tuple(labels.tolist()), record_id, payload[end:], second_id, is_vector=True)


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
        self.offsets: Index = open_index(path)
        self._file = _identity(path.stat()) if path.exists() else None
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
            if self._file and _identity(os.fstat(self._stream.fileno())) != self._file:
                self.close()
                raise RecordError(f"{self.path} was replaced while it was in use: start again")
        return self._stream

    def __getstate__(self) -> dict[str, object]:
        # a cached index is opened again: a process that was spawned then shares its pages too
        offsets = None if self.offsets.is_cached else self.offsets
        return {**self.__dict__, "_stream": None, "offsets": offsets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.offsets is None:
            self.offsets = open_index(self.path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


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
