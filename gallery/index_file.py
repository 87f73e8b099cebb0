"""The file of a very large gallery's index: written once, then mapped into memory.

    head | codes | photo ids | persons | packed codes | centroids

`codes` has a byte for each number of an embedding, `packed codes` half a byte for two or more of
them. The file is derived from the store and can be deleted at any time. It is complete before it
has its name, and belongs to the store that holds its token: whatever was restored, replaced or
half written is not used.
"""

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery.errors import GalleryError
from gallery.private_files import FILE_MODE
from gallery.replacing import sync_directory
from gallery.rows import STEPS, faiss_threads

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Signed = NDArray[np.int8]

SUFFIX = ".index"
NEW = ".new"
FORMAT = "facewire-index-1"
PAGE = 4096
SAMPLE_ROWS = 1 << 16  # of which the centroids are computed: 4,096 for each of the 16
MOST_PARTS = 128


class UnusableIndexError(Exception):
    """The file is missing, incomplete, or of another store or model."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of the file.

    Attributes:
        token: of the store that it was made from.
        model_id: of the embeddings.
        embedding_size: D.
        revision: of the store; every change up to it is in the file.
        n_rows: number of templates.
        max_error: the largest distance between an embedding and its bytes.
        format: of the file.
    """

    token: str
    model_id: str
    embedding_size: int
    revision: int
    n_rows: int = 0
    max_error: float = 0.0
    format: str = FORMAT


@dataclass(frozen=True, slots=True, eq=False)
class IndexFile:
    """The content of the file, in memory or mapped; photo ids ascend.

    Attributes:
        head: what it is.
        photo_ids: (n,) int64.
        persons: (n,) int64; -1 for an erased photo, whose codes are zeros.
        codes: (n, D) int8.
        packed: (blocks, bytes) uint8 as the scan reads them, 32 rows in a block.
        scan: the search over `packed`, in memory.
    """

    head: Head
    photo_ids: Ids
    persons: Ids
    codes: Signed
    packed: Bytes
    scan: faiss.IndexPQFastScan

    def wipe(self, rows: Ids) -> None:
        """Overwrite rows with zeros, in memory and in the file, even during searches."""
        packer = _packer(self.scan)
        nothing = np.zeros(packer.code_size, np.uint8)
        blocks = _blocks_of(self.scan)
        for row in rows.tolist():
            self.persons[row] = -1
            self.codes[row] = 0
            for held in (blocks, self.packed):
                block = row // packer.nvec
                packer.pack_1(nothing, row % packer.nvec, held[block : block + 1])


def is_suited(embedding_size: int) -> bool:
    """Return whether embeddings of that size can be packed."""
    return embedding_size >= 8 and embedding_size % 4 == 0


def read(path: Path | None, *, token: str | None, model_id: str, embedding_size: int) -> IndexFile:
    """Map a file into memory; rows that are wiped later are wiped in the file if it is writable.

    Raises:
        UnusableIndexError: if it is missing, incomplete, or not of that store and model.
    """
    if path is None:
        raise UnusableIndexError
    try:
        file, mode = _opened(path)
        with file:
            head = _head_of(file)
            if (head.token, head.model_id, head.embedding_size) != (
                token,
                model_id,
                embedding_size,
            ):
                raise UnusableIndexError(path)
            return _mapped(file, head, mode)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnusableIndexError(path) from error


def write(
    path: Path | None,
    batches: Iterable[tuple[Ids, Ids, Floats]],
    head: Head,
    *,
    claim: Callable[[], None],
) -> IndexFile:
    """Write all templates to a new file and map it.

    Without a path, while another process writes the file, or where it cannot be written, the file
    has no name and ends with the process.

    Args:
        path: of the file; the old one is replaced as one step.
        batches: photo ids in ascending order, persons, and (M, D) embeddings of unit length.
        head: `n_rows` and `max_error` are those of the batches.
        claim: stores the token in the store; called when the file is complete, before it has its
            name.

    Raises:
        OSError: if there is no space for it anywhere.
        GalleryError: of the batches.
    """
    named = None if path is None else _new_file(path)
    if path is None or named is None:
        with tempfile.TemporaryFile() as unnamed:
            return _written(unnamed, batches, head)
    with named:
        content = _written(named, batches, head)
        try:
            claim()
        except GalleryError:  # open for reading only, or busy: used by this process alone
            _new_path(path).unlink(missing_ok=True)
            return content
        _new_path(path).replace(path)
        sync_directory(path.parent)
    return content


def _written(file: BinaryIO, batches: Iterable[tuple[Ids, Ids, Floats]], head: Head) -> IndexFile:
    scan = _empty_scan(head.embedding_size)
    all_ids, all_persons = [], []
    sample: list[Floats] = []
    max_error = 0.0
    file.write(bytes(PAGE))
    for ids, persons, embeddings in batches:
        all_ids.append(ids)
        all_persons.append(persons)
        codes = np.clip(np.rint(embeddings * STEPS), -127, 127).astype(np.int8)
        errors = np.linalg.norm(embeddings - codes / np.float32(STEPS), axis=1)
        max_error = max(max_error, float(errors.max(initial=0.0)))
        file.write(codes.tobytes())
        if scan.is_trained:
            scan.add(embeddings)
            continue
        sample.append(embeddings)
        if sum(len(each) for each in sample) >= SAMPLE_ROWS:
            _train(scan, sample)
    if not scan.is_trained:
        _train(scan, sample)
    head = replace(head, n_rows=scan.ntotal, max_error=max_error)
    for part in (
        np.concatenate(all_ids) if all_ids else np.empty(0, np.int64),
        np.concatenate(all_persons) if all_persons else np.empty(0, np.int64),
        _blocks_of(scan),
        faiss.vector_to_array(scan.pq.centroids),
    ):
        file.seek(_aligned(file.tell()))
        file.write(part.tobytes())
    file.truncate(_aligned(file.tell()))
    file.seek(0)
    file.write(json.dumps(asdict(head)).encode().ljust(PAGE, b"\0"))
    file.flush()
    os.fsync(file.fileno())
    return _mapped(file, head, "r+", scan)


def _mapped(
    file: BinaryIO, head: Head, mode: str, scan: faiss.IndexPQFastScan | None = None
) -> IndexFile:
    n, size = head.n_rows, head.embedding_size
    at = PAGE

    def section(dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
        nonlocal at
        mapped = np.memmap(file, dtype, mode, at, shape)  # type: ignore[call-overload]
        values: NDArray[np.generic] = mapped.view(np.ndarray)  # indexed in half the time
        at = _aligned(at + values.nbytes)
        return values

    held = scan or _empty_scan(size)
    packer = _packer(held)
    n_blocks = -(-n // packer.nvec)
    codes = section(np.int8, (n, size))
    photo_ids, persons = section(np.int64, (n,)), section(np.int64, (n,))
    packed = section(np.uint8, (n_blocks, packer.block_size))
    centroids = section(np.float32, (held.pq.centroids.size(),))
    if os.fstat(file.fileno()).st_size != at:
        raise ValueError("the file is incomplete")
    if scan is None:
        faiss.copy_array_to_vector(np.asarray(centroids), held.pq.centroids)
        held.codes.resize(packed.size)
        held.ntotal = n
        library: Any = held  # its types do not know the next
        library.ntotal2 = n_blocks * packer.nvec
        held.is_trained = True
        _blocks_of(held)[:] = packed
    return IndexFile(head, photo_ids, persons, codes, packed, held)  # type: ignore[arg-type]


def _empty_scan(embedding_size: int) -> faiss.IndexPQFastScan:
    n_parts = embedding_size // 2
    while n_parts > MOST_PARTS or embedding_size % n_parts or n_parts % 2:
        n_parts -= 1
    return faiss.IndexPQFastScan(embedding_size, n_parts, 4, faiss.METRIC_INNER_PRODUCT)


def _train(scan: faiss.IndexPQFastScan, sample: list[Floats]) -> None:
    rows = np.concatenate(sample) if sample else np.zeros((0, scan.d), np.float32)
    # With few or equal rows alone, all centroids would be equal, and nothing found.
    axes = np.eye(scan.d, dtype=np.float32)
    enough = np.concatenate([rows, axes, -axes])
    scan.pq.cp.min_points_per_centroid = 1  # no warning of few
    with faiss_threads(1):  # others wait for each other too often in so small a work
        scan.train(enough)
        if len(rows):
            scan.add(rows)
    sample.clear()


def _packer(scan: Any) -> Any:
    return scan.get_CodePacker()  # unknown to the types of FAISS


def _blocks_of(scan: faiss.IndexPQFastScan) -> Bytes:
    block_size = _packer(scan).block_size
    n_bytes = scan.codes.size()
    if not n_bytes:
        return np.empty((0, block_size), np.uint8)
    flat: Bytes = faiss.rev_swig_ptr(scan.codes.get(), n_bytes)
    return flat.reshape(-1, block_size)


def _opened(path: Path) -> tuple[BinaryIO, str]:
    try:
        return path.open("r+b"), "r+"
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return path.open("rb"), "c"  # what is wiped is wiped in memory alone


def _head_of(file: BinaryIO) -> Head:
    head = Head(**json.loads(file.read(PAGE).rstrip(b"\0")))
    if head.format != FORMAT:
        raise ValueError("another format")
    return head


def _new_path(path: Path) -> Path:
    return path.with_name(path.name + NEW)


def _new_file(path: Path) -> BinaryIO | None:
    """Open the new file; None while another process writes it, or where it cannot be written."""
    new = _new_path(path)
    try:
        file = os.fdopen(os.open(new, os.O_RDWR | os.O_CREAT, FILE_MODE), "r+b")
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Else it has been completed and has its name by now.
        if os.path.samestat(os.fstat(file.fileno()), new.stat()):
            file.truncate(0)
            return file
    file.close()
    return None


def _aligned(position: int) -> int:
    return -(-position // PAGE) * PAGE
