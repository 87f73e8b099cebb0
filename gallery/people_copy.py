"""A copy of what is searched in a database, on this machine's disk, for a start without it.

The copy is an ordinary gallery file without crops, notes and audit, private as that is. It has the
persons' and photos' numbers of the database, and its last revision, so that a search that began
with the copy goes on with what was changed in the database since.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gallery import templates
from gallery.address import Place, shown
from gallery.blobs import Embedding
from gallery.errors import GalleryError, GalleryFormatError, GalleryReplacedError
from gallery.facts import PUT_FACT, Facts
from gallery.file import GalleryFile
from gallery.schema import FILE_NAME
from gallery.store import Access, Connection, Store

DIRECTORY = FILE_NAME + "-copy"
"""Beside the files of a data directory, whose names begin in the same way."""

COPIED_AT = "copied_at"
"""The fact that holds when the copy was the same as the database, seconds since 1970."""

PLACE = "place"
"""The fact that holds of which database the copy is: its address without the password."""

SAME = ("gallery_id", "model_id", "embedding_size")
"""The facts of which a copy that differs is of another gallery."""

NOTED_S = 300.0
"""Seconds after which a copy that is still the same notes it."""

KEEP_S = 30 * 86_400.0
"""Age up to which a copy is used, seconds: who was erased elsewhere meanwhile is still in it."""

WAIT_S = 3.0
"""How long it waits for others who write or read the copy, seconds."""

BATCH = 8_192


class PeopleCopy:
    """The copy in a data directory; written by one thread.

    Args:
        directory: of the data.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / DIRECTORY
        self._file: GalleryFile | None = None
        self._is_followed = False
        self._seen_version: int | None = None
        self._noted_at = float("-inf")

    @property
    def exists(self) -> bool:
        """Whether there is a copy, in any state."""
        return self._directory.exists()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file, self._is_followed = None, False

    def erase(self) -> None:
        """Erase the copy: the people are no longer in a database.

        Raises:
            OSError: if the disk does not allow it.
        """
        self.close()
        if self.exists:
            shutil.rmtree(self._directory)

    def open_to_read(
        self, place: Place, *, model_id: str, embedding_size: int
    ) -> GalleryFile | None:
        """Open the copy for searching; None where there is none that can be used.

        Args:
            place: of the database; a copy of another one is not opened.
            model_id: of the model of the probes; likewise.
            embedding_size: D of that model.
        """
        if not self.exists:
            return None
        with ExitStack() as on_failure:
            try:
                file = GalleryFile(self._directory, access=Access.READ)
                on_failure.callback(file.close)
                facts = Facts(file).all()
            except GalleryError:  # damaged: as if there were none
                return None
            held = tuple(facts.get(key) for key in (PLACE, "model_id", "embedding_size"))
            if held != (shown(place), model_id, str(embedding_size)):
                return None
            if time.time() - float(facts.get(COPIED_AT, 0)) > KEEP_S:
                return None
            on_failure.pop_all()
        return file

    def update(self, store: Store) -> None:
        """Make the copy the same as a database; takes microseconds if nothing has changed.

        It is the earlier copy, or the new one, whenever the process ends. Erased people are
        overwritten. The first time all is written anew: the database may have been restored from
        a backup since the copy was made, whose revisions then say nothing. So is a copy that
        cannot be read, or is of a later version.

        Raises:
            GalleryUnreachableError: if the database does not answer.
            GalleryError: if the copy cannot be written.
        """
        version, now = store.data_version(), time.time()
        if version == self._seen_version and abs(now - self._noted_at) < NOTED_S:
            return
        with store.reading(snapshot=True) as database:
            facts = _facts(database)  # before the copy is touched: its errors are the database's
            noted = {COPIED_AT: str(now), PLACE: store.place}
            try:
                is_cleaned = self._write(database, facts, noted)
            except GalleryFormatError:
                self._erase_unusable()
                is_cleaned = self._write(database, facts, noted)
            except GalleryReplacedError:  # by another process, or by hand
                self.close()
                is_cleaned = self._write(database, facts, noted)
        if is_cleaned:  # else erased people are still in the log of the file
            self._seen_version, self._noted_at = version, now

    def _write(self, database: Connection, facts: dict[str, str], noted: dict[str, str]) -> bool:
        """Make the copy the same as a snapshot; return whether erased people are overwritten."""
        file = self._opened()
        is_followed, self._is_followed = self._is_followed, False
        with file.writing() as copy:
            held = _facts(copy)
            changes = None
            if is_followed and all(facts.get(key) == held.get(key) for key in SAME):
                changes = templates.changes_in(database, templates.revision_in(copy))
            if changes is None:
                copy.execute("DELETE FROM identities")  # photos with them
                revision = templates.revision_in(database)
                _put_people(copy, _rows(database, "identities", "person, identity_id, name"))
                _put_photos(
                    copy, _rows(database, "photos", "photo_id, person, model_id, embedding")
                )
            else:
                revision = changes.revision
                _change(database, copy, changes)
            copy.execute("DELETE FROM facts")
            copy.executemany(PUT_FACT, list({**facts, **noted}.items()))
            copy.execute("DELETE FROM journal")
            if revision:
                copy.execute("INSERT INTO journal (revision) VALUES (?)", (revision,))
        self._is_followed = True
        return file.truncate_log()

    def _erase_unusable(self) -> None:
        try:
            self.erase()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise GalleryError(
                f"cannot erase {self._directory}, which cannot be used: {why}; erase it yourself"
            ) from error

    def _opened(self) -> GalleryFile:
        if self._file is None:
            self._file = GalleryFile(self._directory, access=Access.CREATE, wait_s=WAIT_S)
        return self._file


def copied_at(copy: Store) -> float:
    """Return when a copy was the same as the database, seconds since 1970."""
    return float(Facts(copy).get(COPIED_AT) or 0)


def _facts(connection: Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value FROM facts").fetchall())


def _change(database: Connection, copy: Connection, changes: templates.Changes) -> None:
    people: list[tuple[Any, ...]] = []
    for some in templates.batched(changes.persons, templates.BATCH):
        marks = ",".join("?" * len(some))
        people += database.execute(
            f"SELECT person, identity_id, name FROM identities WHERE person IN ({marks})", some
        ).fetchall()
    gone = set(changes.persons) - {row[0] for row in people}
    copy.executemany("DELETE FROM identities WHERE person = ?", [(each,) for each in gone])
    # Two people may have exchanged their names; no name or id holds this character.
    copy.executemany(
        "UPDATE identities SET name = char(1) || person, identity_id = char(1) || person "
        "WHERE person = ?",
        [(row[0],) for row in people],
    )
    _put_people(copy, [people])
    copy.executemany(
        "DELETE FROM photos WHERE photo_id = ?", [(each,) for each in changes.photo_ids]
    )
    for some in templates.batched(changes.photo_ids, templates.BATCH):
        marks = ",".join("?" * len(some))
        rows = database.execute(
            f"SELECT photo_id, person, model_id, embedding FROM photos WHERE photo_id IN ({marks})",
            some,
        ).fetchall()
        _put_photos(copy, [rows])


def _put_people(copy: Connection, batches: Iterator[list[Any]] | Sequence[list[Any]]) -> None:
    for rows in batches:
        copy.executemany(
            "INSERT INTO identities (person, identity_id, name, created_at) VALUES (?, ?, ?, 0) "
            "ON CONFLICT (person) DO UPDATE SET name = excluded.name, "
            "identity_id = excluded.identity_id",
            rows,
        )


def _put_photos(copy: Connection, batches: Iterator[list[Any]] | Sequence[list[Any]]) -> None:
    for rows in batches:
        copy.executemany(
            "INSERT INTO photos (photo_id, person, source_sha256, quality, model_id, created_at, "
            "embedding) VALUES (?, ?, ?, 0, ?, 0, ?)",
            [(photo, person, str(photo), model, Embedding(e)) for photo, person, model, e in rows],
        )


def _rows(connection: Connection, table: str, columns: str) -> Iterator[list[Any]]:
    """Yield all rows of a table by their key, some at a time."""
    key, last = columns.partition(",")[0], -1
    while rows := connection.execute(
        f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT {BATCH}", (last,)
    ).fetchall():
        yield rows
        last = rows[-1][0]
