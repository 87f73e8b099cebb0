"""Folders of people, DIRECTORY/NAME/..., as phones, file managers and NAS create them.

Whether a file is a photo is decided by its content when it is read, so every file below a person's
folder is an item, whatever its extension. Only hidden and system files are skipped.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gallery import clean_name
from stream.enrollment.crops import EnrolReport, Rejected
from stream.enrollment.enrollment import EnrolItem, photo_item
from stream.enrollment.lists import Listed, read_csv, read_zip
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError

SYSTEM_NAMES = frozenset(
    {
        *("$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db"),  # Windows
        *("ehthumbs_vista.db", "desktop.ini", "found.000"),
        *("__macosx", "icon\r"),  # macOS, beside its hidden ones
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # NAS
        "lost+found",  # Linux
    }
)
"""In lower case: what systems put beside photos; everything that begins with a dot is one too."""


ZIP = ".zip"


@dataclass(frozen=True, slots=True)
class PeopleFolder:
    """The contents of a folder of people.

    Attributes:
        items: every file that may be a photo, by person and path.
        rejected: folders and files that cannot be enrolled, with the reason.
        people: the path of each person's folder and the name.
        n_skipped: number of hidden and system files and folders.
    """

    items: tuple[EnrolItem, ...]
    rejected: tuple[Rejected, ...]
    people: tuple[tuple[str, str], ...]
    n_skipped: int

    def without_photo(self, report: EnrolReport) -> list[tuple[str, str]]:
        """Return the folders and names of the people without an enrolled photo."""
        left_out = {rejected.label for rejected in report.refused}
        names = {clean_name(item.name) for item in self.items if item.label not in left_out}
        return [(folder, name) for folder, name in self.people if name not in names]


def read_people(path: Path) -> PeopleFolder:
    """Return the people of a folder, a zip file or a CSV list, by the ending of its name.

    Raises:
        EnrolmentError: if it is none of them, or cannot be read.
    """
    ending = path.suffix.casefold()
    if ending not in (ZIP, ".csv") or path.is_dir():
        return read_people_folder(path)
    listed = read_csv(path) if ending == ".csv" else read_zip(path, system_names=SYSTEM_NAMES)
    items = [item for items in listed.by_name.values() for item in items]
    if not items and not listed.rejected:
        raise EnrolmentError(f"{path} holds no photo: expected NAME/PHOTO.jpg in it")
    people = tuple((str(path), name) for name in listed.by_name)
    return PeopleFolder(tuple(items), tuple(listed.rejected), people, listed.n_skipped)


def read_people_folder(
    directory: Path, *, ignore: Callable[[str], bool] = lambda name: False
) -> PeopleFolder:
    """Return the contents of a folder that has a folder for each person.

    Photos may be in folders below a person's, or in a zip file NAME.zip. Links are followed,
    except link loops.

    Args:
        directory: to read.
        ignore: returns whether a file or folder of that name is left out, as system files are.

    Raises:
        EnrolmentError: if it is not one; an unusable folder in it is `rejected`.
    """
    scan = _Scan(ignore)
    try:
        entries = scan.entries(directory)
    except NotADirectoryError as error:
        raise EnrolmentError(
            f"{directory} is not a directory: name one with a folder per person"
        ) from error
    except OSError as error:
        raise EnrolmentError(f"cannot read {directory}: {_why(error)}") from error
    persons = [entry for entry in entries if _is_folder(entry) or _is_zip(entry)]
    if not persons:
        raise EnrolmentError(
            f"{directory} holds no folder of a person: expected {directory}/NAME/PHOTO.jpg"
        )
    for entry in entries:
        path = Path(entry.path)
        if _is_folder(entry):
            scan.take_person(path)
        elif _is_zip(entry):
            scan.take_zip(path)
        else:
            scan.reject(path, "", Reason.NO_PERSON, "not in the folder of a person")
    return PeopleFolder(tuple(scan.items), tuple(scan.rejected), tuple(scan.people), scan.n_skipped)


class _Scan:
    """Collects the contents of a folder of people."""

    def __init__(self, ignore: Callable[[str], bool]) -> None:
        self._ignore = ignore
        self.items: list[EnrolItem] = []
        self.rejected: list[Rejected] = []
        self.people: list[tuple[str, str]] = []
        self.n_skipped = 0

    def entries(self, directory: Path) -> "list[os.DirEntry[str]]":
        """Return the entries of a folder, except hidden and system ones, by name."""
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        wanted = [e for e in entries if not _is_system(e.name) and not self._ignore(e.name)]
        self.n_skipped += len(entries) - len(wanted)
        return wanted

    def reject(self, path: Path, name: str, reason: Reason, detail: str) -> None:
        self.rejected.append(Rejected(str(path), name, reason, detail))

    def take_person(self, folder: Path) -> None:
        """Add all files below a person's folder."""
        try:
            name = clean_name(folder.name)
        except ValueError as error:
            self.reject(folder, "", Reason.NO_NAME, f"{error} (rename the folder)")
            return
        n_rejected = len(self.rejected)
        files = list(self._files(folder, name, ()))
        self.items += [photo_item(path, name) for path in files]
        if files:
            self.people.append((str(folder), name))
        elif len(self.rejected) == n_rejected:
            self.reject(folder, name, Reason.EMPTY, "the folder holds no photo")

    def take_zip(self, path: Path) -> None:
        """Add all files in a person's zip file."""
        try:
            listed: Listed = read_zip(path, system_names=SYSTEM_NAMES, name=path.stem)
        except EnrolmentError as error:
            self.reject(path, "", Reason.UNREADABLE, str(error))
            return
        self.rejected += listed.rejected
        self.n_skipped += listed.n_skipped
        for name, items in listed.by_name.items():
            self.items += items
            self.people.append((str(path), name))
        if not listed.by_name and not listed.rejected:
            self.reject(path, path.stem, Reason.EMPTY, "the zip file holds no photo")

    def _files(self, folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
        """Yield every file below a folder.

        Args:
            folder: to read.
            name: of the person.
            above: device and inode of its parent folders, to detect link loops.
        """
        try:
            status = folder.stat()
            entries = self.entries(folder)
        except OSError as error:
            self.reject(folder, name, Reason.UNREADABLE, f"cannot read the folder: {_why(error)}")
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        for entry in entries:
            path = Path(entry.path)
            if _is_folder(entry):
                yield from self._files(path, name, (*above, here))
            else:
                yield path


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def _is_zip(entry: "os.DirEntry[str]") -> bool:
    return Path(entry.name).suffix.casefold() == ZIP


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link loop, or no permission: reported when it is read
        return False


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
