"""Where each record of a `.rec` file begins, in a few bytes a record.

A dictionary of the 5.8 million records of MS1M takes 0.8 GB, and as much again in each forked
worker, because reading an entry writes its reference count and so copies its page. Here they are
arrays, and those of large sets are files in the user's cache: all processes that map such a file
share its memory, and opening it takes no parsing.
"""

import hashlib
import logging
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.cache import default_cache
from trainer.data.framing import scan_records
from trainer.errors import RecordError

logger = logging.getLogger(__name__)

Integers = NDArray[np.integer[Any]]

MAX_OFFSET = (1 << 62) - 1  # of a key or position in an index
CACHED_FROM = 100_000  # records: reading less text takes a few hundredths of a second
KEPT = 8  # cached indexes
CHUNK = 1 << 24  # bytes of text that are parsed at a time

_CACHE_MAGIC = b"facewire index 1"
_CACHE_HEADER = struct.Struct("<16sqqqqq")  # magic, records, first key, its place, bytes of each


class Index(Mapping[int, int]):
    """Byte position of each record by its key.

    Keys that follow each other, except for the first one, whose record may be anywhere, take no
    memory: that is so in every set of the reference.

    Args:
        keys: (N,) each once, in the order of the file.
        offsets: (N,) bytes.
    """

    def __init__(self, keys: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        n = len(keys)
        self._n = n
        self._first = int(keys.min()) if n else 0
        self._place = int(keys.argmin()) if n else 0  # of the first key in the file
        self._keys: Integers | None = None  # in the order of the file, unless they can be computed
        self._order: Integers | None = None
        if all(np.array_equal(part, of) for part, of in _runs(keys, self._first, self._place)):
            moved = np.delete(offsets, self._place) if n else offsets
            offsets = np.concatenate([offsets[self._place : self._place + 1], moved])
        else:
            self._keys = smallest(keys)
            if not (keys[1:] > keys[:-1]).all():
                self._order = smallest(np.argsort(keys, kind="stable"))
        self._offsets = smallest(offsets)
        self.is_cached = False

    @property
    def keys_array(self) -> Integers:
        """(N,) keys in the order of the file."""
        if self._keys is not None:
            return self._keys
        others = np.arange(self._first + 1, self._first + self._n)
        return smallest(np.insert(others, self._place, self._first) if self._n else others[:0])

    @property
    def key_range(self) -> range | None:
        """The keys in the order of the file, if they are a range."""
        if self._keys is None and not self._place:
            return range(self._first, self._first + self._n)
        return None

    def positions(self, keys: range) -> NDArray[np.int64]:
        """Return the (K,) byte positions of keys.

        Raises:
            KeyError: if one is not there.
        """
        if self._keys is None:
            inside = range(self._first, self._first + self._n)
            if keys and (keys[0] not in inside or keys[-1] not in inside):
                raise KeyError(keys)
            found = self._offsets[keys.start - self._first : keys.stop - self._first]
            return found.astype(np.int64)
        return np.array([self[key] for key in keys], np.int64)

    def __getitem__(self, key: int) -> int:
        place = self._find(key)
        if place is None:
            raise KeyError(key)
        return int(self._offsets[place])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int | np.integer) and self._find(int(key)) is not None

    def __iter__(self) -> Iterator[int]:
        if self._keys is not None:
            return iter(self._keys.tolist())
        if not self._n:
            return iter(())
        others = range(self._first + 1, self._first + self._n)
        return chain(others[: self._place], (self._first,), others[self._place :])

    def __len__(self) -> int:
        return self._n

    def _find(self, key: int) -> int | None:
        """Return the place of a key in the array of offsets."""
        if self._keys is None:
            place = key - self._first
            return place if 0 <= place < self._n else None
        if not 0 <= key <= np.iinfo(self._keys.dtype).max:
            return None
        wanted = self._keys.dtype.type(key)  # of the same type: else the whole array is converted
        place = int(np.searchsorted(self._keys, wanted, sorter=self._order))
        if place == self._n:
            return None
        if self._order is not None:
            place = int(self._order[place])
        return place if self._keys[place] == wanted else None

    def save(self, path: Path) -> None:
        """Write an index whose keys follow each other as a file that `load` maps.

        Raises:
            OSError: if it cannot be written.
        """
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        head = (_CACHE_MAGIC, self._n, self._first, self._place, self._offsets.itemsize, 0)
        try:
            with scratch.open("wb") as file:
                file.write(_CACHE_HEADER.pack(*head))
                self._offsets.tofile(file)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "Index | None":
        """Map a file of `save`; None if there is none or it is another one."""
        try:
            with path.open("rb") as file:
                head = file.read(_CACHE_HEADER.size)
            magic, n, first, place, width, _ = _CACHE_HEADER.unpack(head)
            if magic != _CACHE_MAGIC or width not in (4, 8):
                return None
            if path.stat().st_size != _CACHE_HEADER.size + n * width:
                return None
            dtype = np.uint32 if width == 4 else np.int64
            offsets = np.memmap(path, dtype, "r", _CACHE_HEADER.size, (n,))
        except (OSError, struct.error, ValueError):
            return None
        index = cls.__new__(cls)
        index._n, index._first, index._place = n, first, place
        index._keys = index._order = None
        index._offsets = np.asarray(offsets)
        index.is_cached = True
        return index

    @property
    def can_be_cached(self) -> bool:
        """Whether `save` can write it."""
        return self._keys is None


def _runs(
    keys: NDArray[np.int64], first: int, place: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield parts of keys, and what they are where keys follow each other except for the first.

    In chunks, which are small beside the index of a large set.
    """
    step = 1 << 20
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        places = np.arange(start, start + len(part))
        should = first + places + (places < place)
        if start <= place < start + len(part):
            should[place - start] = first
        yield part, should


def smallest(values: Integers) -> Integers:
    """Return whole numbers of 0 or more in 4 bytes each where they fit, else in 8; read-only."""
    is_small = not len(values) or int(values.max()) < 2**32
    held: Integers = values.astype(np.uint32 if is_small else np.int64)
    held.flags.writeable = False
    return held


def open_index(path: Path) -> Index:
    """Return the index of a `.rec` file, from its `.idx`; without one the file is scanned.

    A large index is kept in the user's cache, by the content of the `.idx`; that of a file without
    one by its place, size, time, and the content of both its ends.

    Raises:
        RecordError: if a file cannot be read, or the `.idx` is damaged.
    """
    source = path.with_suffix(".idx")
    has_index = source.exists() or not path.exists()
    try:
        key = _digest(source) if has_index else _digest_of_ends(path)
    except OSError as error:
        raise RecordError(
            f"cannot read {source if has_index else path}: {error.strerror}"
        ) from error
    cached = default_cache() / "indexes" / f"{key}.index" if key else None
    if cached and (index := Index.load(cached)):
        return index
    if has_index:
        index = read_index(source)
    else:
        logger.warning("there is no %s: reading all of %s instead", source, path.name)
        index = scan_index(path)
    if cached and index.can_be_cached and len(index) >= CACHED_FROM:
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            index.save(cached)
            _forget_old(cached.parent)
        except OSError as error:  # a full disk, or a cache that cannot be written
            logger.info("the index of %s is not cached: %s", path, error.strerror)
        return Index.load(cached) or index
    return index


def _digest(path: Path) -> str:
    """Return the digest of an `.idx` file, "" if it is too small to be cached."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 4 * CACHED_FROM:  # bytes of the shortest lines
            return ""
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _digest_of_ends(path: Path) -> str:
    """Return a digest of a `.rec` file, "" if it is too small for its index to be cached."""
    status = path.stat()
    if status.st_size < 32 * CACHED_FROM:  # bytes of the shortest records
        return ""
    place = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    digest = hashlib.blake2b(repr(place).encode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(status.st_size - (1 << 20), 0))
        digest.update(file.read())
    return digest.hexdigest()[:32]


def _forget_old(folder: Path) -> None:
    """Remove the cached indexes that were written long ago."""
    files = sorted(folder.glob("*.index"), key=lambda file: file.stat().st_mtime)
    for file in files[:-KEPT]:
        file.unlink(missing_ok=True)


def scan_index(path: Path) -> Index:
    """Make an index of a `.rec` file: keys are the record ids, or places where ids repeat.

    Raises:
        RecordError: if the file cannot be read.
    """
    offsets, ids = array("q"), array("Q")
    for offset, record_id in scan_records(path):
        offsets.append(offset)
        ids.append(record_id)
    keys = np.array(ids, np.uint64)
    ordered = np.sort(keys, kind="stable")
    is_unique = (ordered[1:] > ordered[:-1]).all() and (keys <= MAX_OFFSET).all()
    return Index(
        keys.astype(np.int64) if is_unique else np.arange(len(keys)), np.array(offsets, np.int64)
    )


def read_index(path: Path) -> Index:
    """Read `KEY<tab>OFFSET` lines; the last line may be cut off in an unfinished set.

    Raises:
        RecordError: if the file is missing or another line is wrong.
    """
    parts: list[NDArray[np.int64]] = []
    rest, n_lines = b"", 0
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                text = rest + data
                end = text.rfind(b"\n") + 1
                text, rest = text[:end], text[end:]
                if not text.isascii() or len(rest) > CHUNK:
                    raise RecordError(f"{path} is not an index of records")
                text = text.replace(b"\r\n", b"\n")
                values = _plain_index(text)
                parts.append(_odd_index(text, path, n_lines) if values is None else values)
                n_lines += text.count(b"\n")
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    keys, offsets = (
        np.concatenate([part[:, column] for part in parts] or [np.zeros(0, np.int64)])
        for column in (0, 1)
    )
    parts.clear()
    ordered = np.sort(keys, kind="stable")  # fast where nearly all are in order
    if (ordered[1:] == ordered[:-1]).any():
        # a key twice: the later one counts, in the place of the first
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


def _odd_index(data: bytes, path: Path, n_before: int) -> NDArray[np.int64]:
    """Parse an index line by line: one written by hand may have any spacing."""
    rows = []
    for number, line in enumerate(data.decode("ascii").splitlines(), n_before + 1):
        key, _, offset = line.strip().partition("\t")
        is_whole = key.isascii() and key.isdigit() and offset.isascii() and offset.isdigit()
        if not is_whole or max(int(key[:20]), int(offset[:20])) > MAX_OFFSET:
            raise RecordError(
                f"{path}, line {number}: expected KEY<tab>OFFSET, got {line.strip()[:80]!r}"
            )
        rows.append((int(key), int(offset)))
    return np.array(rows, np.int64).reshape(-1, 2)
