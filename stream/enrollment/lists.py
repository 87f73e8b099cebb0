"""People in a zip file (NAME/PHOTO, or photos of one person) and in a CSV list (name, file).

One folder around the folders of the people, as file managers pack it, is no person.

Photos in a zip file are read from it one at a time, never extracted, and bounded as files are.
"""

import csv
import errno
import io
import lzma
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from gallery import clean_name
from recognizer import read_file, refuse_special
from recognizer.photos.photos import MAX_BYTES
from stream.enrollment.crops import Rejected
from stream.enrollment.enrollment import EnrolItem, photo_item
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError

MAX_ENTRIES = 200_000
"""Files in one zip file; more would take minutes to list."""

READ = 4096  # bytes at a time, which bzip2 and LZMA may expand 20,000 times

MAX_CSV_BYTES = 64 * 1024 * 1024
FILE_TITLES = frozenset({"file", "photo", "path", "image"})  # of the second column
ZIP_FAULTS = (
    zipfile.BadZipFile,
    NotImplementedError,  # a compression or version that is not known
    RuntimeError,  # encrypted
    EOFError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
)


@dataclass(slots=True)
class Listed:
    """What a zip file or a list holds.

    Attributes:
        by_name: the photos of each person.
        rejected: entries that cannot be enrolled, with the reason.
        n_skipped: number of hidden and system files.
    """

    by_name: dict[str, list[EnrolItem]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    n_skipped: int = 0

    def take(self, item: EnrolItem) -> None:
        """Add a photo."""
        self.by_name.setdefault(item.name, []).append(item)

    def reject(self, label: str, reason: Reason, detail: str) -> None:
        """Add an entry that is not a photo of somebody."""
        self.rejected.append(Rejected(label, "", reason, detail))


def read_zip(path: Path, *, system_names: Iterable[str], name: str | None = None) -> Listed:
    """Return the people in a zip file.

    Args:
        path: of the file.
        system_names: names of files that are no photos, in lower case.
        name: whose photos all are; None for the name of the folder in the file that holds them,
            or that of the file if it has no folders.

    Raises:
        EnrolmentError: if it is no zip file, damaged, encrypted, or holds too many files.
    """
    try:
        refuse_special(path)
        with zipfile.ZipFile(path) as opened:
            entries = opened.infolist()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EnrolmentError(f"cannot read {path}: {why}") from error
    except ZIP_FAULTS as error:
        raise EnrolmentError(
            f"cannot read {path}: it is no zip file, or is cut off or damaged"
        ) from error
    files = [info for info in entries if not info.is_dir()]
    if len(files) > MAX_ENTRIES:
        raise EnrolmentError(f"{path} holds {len(files)} files, at most {MAX_ENTRIES}: divide it")
    if any(info.flag_bits & 1 for info in files):
        raise EnrolmentError(f"{path} is encrypted: unpack it and name the folder")
    listed = Listed()
    skipped = frozenset(system_names)
    wanted = []
    for info in sorted(files, key=lambda info: info.filename):
        parts = PurePosixPath(info.filename.replace("\\", "/").lstrip("/")).parts
        if any(part.startswith(".") or part.casefold() in skipped for part in parts):
            listed.n_skipped += 1
        else:
            wanted.append((info, parts))
    if len({parts[0] for _, parts in wanted}) == 1 and all(len(parts) > 2 for _, parts in wanted):
        wanted = [(info, parts[1:]) for info, parts in wanted]
    if name is None and all(len(parts) == 1 for _, parts in wanted):
        name = path.stem
    archive = _Archive(path)
    for info, parts in wanted:
        label = f"{path}/{info.filename}"
        if name is None and len(parts) == 1:
            listed.reject(label, Reason.NO_PERSON, "not in the folder of a person")
            continue
        try:
            whose = clean_name(parts[0] if name is None else name)
        except ValueError as error:
            listed.reject(label, Reason.NO_NAME, f"{error} (rename the folder or the zip file)")
            continue
        listed.take(EnrolItem(label, whose, archive.loader(info)))
    return listed


class _Archive:
    """A zip file, open only from the first photo read to the last: a folder may hold thousands."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._n_left = 0
        self._zip: zipfile.ZipFile | None = None
        self._lock = threading.Lock()

    def loader(self, info: zipfile.ZipInfo) -> Callable[[], bytes]:
        """Return what reads a file in it, once."""
        self._n_left += 1
        return partial(self._read, info)

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """Return the bytes of a file, which may state a wrong size.

        Raises:
            OSError: if it is too large or damaged.
        """
        too_large = OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes")
        data = bytearray()
        try:
            with self._open(info) as file:
                if info.file_size > MAX_BYTES:
                    raise too_large
                while chunk := file.read(READ):
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise too_large
        except ZIP_FAULTS as error:
            raise OSError(errno.EIO, "the zip file is damaged here") from error
        return bytes(data)

    def _open(self, info: zipfile.ZipInfo) -> IO[bytes]:
        with self._lock:
            self._n_left -= 1
            if self._zip is None:
                self._zip = zipfile.ZipFile(self._path)
            try:
                return self._zip.open(info)
            finally:
                if self._n_left <= 0:  # the entries being read keep the file open
                    self._zip.close()
                    self._zip = None


def read_csv(path: Path) -> Listed:
    """Return the people of a CSV list: name,file a line, files relative to the list's folder.

    The first line may be the titles "name" and "file", in either order. Commas or semicolons
    separate; UTF-8 with or without a byte order mark.

    Raises:
        EnrolmentError: if it cannot be read, or is not such a list.
    """
    try:
        text = read_file(path, max_bytes=MAX_CSV_BYTES).decode("utf-8-sig")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EnrolmentError(f"cannot read {path}: {why}") from error
    except UnicodeDecodeError as error:
        raise EnrolmentError(f"cannot read {path}: not UTF-8; save it as CSV UTF-8") from error
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = ";" if ";" in first and "," not in first else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    listed = Listed()
    name_at, file_at, is_first = 0, 1, True
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            titles = [cell.casefold() for cell in cells]
            if is_first and "name" in titles and FILE_TITLES & set(titles):
                name_at = titles.index("name")
                file_at = next(i for i, title in enumerate(titles) if title in FILE_TITLES)
                is_first = False
                continue
            is_first = False
            label = f"{path}, line {rows.line_num}"
            if len(cells) <= max(name_at, file_at) or not cells[file_at]:
                listed.reject(label, Reason.NO_NAME, "expected a name and a file: name,file")
                continue
            try:
                name = clean_name(cells[name_at])
            except ValueError as error:
                listed.reject(label, Reason.NO_NAME, str(error))
                continue
            if "\0" in cells[file_at]:
                listed.reject(label, Reason.UNREADABLE, "the file's name has a null character")
                continue
            listed.take(photo_item(path.parent / cells[file_at], name))
    except csv.Error as error:
        raise EnrolmentError(f"cannot read {path}: line {rows.line_num}: {error}") from error
    if not listed.by_name and not listed.rejected:
        raise EnrolmentError(f"{path} lists nobody: expected a name and a file a line: name,file")
    return listed
