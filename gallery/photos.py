"""The photos of a gallery: adding, reading, moving and erasing."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import Embedding, as_arrays, decode_crop, encode_crop
from gallery.errors import NameTakenError, UnknownIdentityError, other_model
from gallery.facts import Facts
from gallery.identities import Identity, NewPhoto, Photo, Target
from gallery.names import clean_name, is_row_number
from gallery.person_rows import (
    NOW,
    add_crop,
    find_person,
    insert_person,
    move_photos,
    note,
    other_holder,
    target_person,
)
from gallery.probes import unit_rows
from gallery.shards import AnySearcher
from gallery.store import Connection, Store

Floats = NDArray[np.float32]

Choose = Callable[[Identity | None], Collection[int]]
"""Whom a target is by now, None for somebody new, to the positions of the photos to add."""

_PHOTO_COLUMNS = (
    "photos.photo_id, identity_id, source_sha256, quality, model_id, photos.created_at, "
    "crops.photo_id IS NOT NULL"
)
_PHOTO_TABLES = "photos JOIN identities USING (person) LEFT JOIN crops USING (photo_id)"


class Photos:
    """The photos of all people in one gallery.

    Thread-safe. A change is on disk and in the index on return.

    Args:
        store: of the gallery.
        searcher: updated with each change.
    """

    def __init__(self, store: Store, searcher: AnySearcher) -> None:
        self._store = store
        self._searcher = searcher
        self._facts = Facts(store)

    def of(self, identity_id: str) -> list[Photo]:
        """Return a person's photos, oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(
                f"SELECT {_PHOTO_COLUMNS} FROM {_PHOTO_TABLES}"
                " WHERE identity_id = ? ORDER BY photos.photo_id",
                (identity_id,),
            ).fetchall()
        return [_photo(row) for row in rows]

    def of_source(self, source_sha256: str) -> list[tuple[Photo, str]]:
        """Return the photos with a source of that hash, with the names of their people."""
        with self._store.reading() as connection:
            rows = connection.execute(
                f"SELECT {_PHOTO_COLUMNS}, name FROM {_PHOTO_TABLES} WHERE source_sha256 = ?",
                (source_sha256,),
            ).fetchall()
        return [(_photo(row), str(row[7])) for row in rows]

    def page(
        self, *, offset: int, limit: int, of: str | None = None
    ) -> tuple[list[tuple[Photo, str]], int]:
        """Return some of all photos, oldest first, with the names of their people, and the count.

        Args:
            offset: how many photos come before, >= 0.
            limit: maximum number, >= 1.
            of: an identity's id, for the photos of one person; None for everybody's.
        """
        which, values = ("", ()) if of is None else (" WHERE identity_id = ?", (of,))
        with self._store.reading() as connection:
            (total,) = connection.execute(
                f"SELECT count(*) FROM photos JOIN identities USING (person){which}", values
            ).fetchone()
            rows = connection.execute(
                f"SELECT {_PHOTO_COLUMNS}, name FROM {_PHOTO_TABLES}{which}"
                " ORDER BY photos.photo_id LIMIT ? OFFSET ?",
                (*values, limit, offset),
            ).fetchall()
        return [(_photo(row), str(row[7])) for row in rows], int(total)

    def find(self, photo_id: int) -> tuple[Photo, str, Floats] | None:
        """Return a photo with its person's name and its (D,) embedding; None if there is none."""
        if not is_row_number(photo_id):
            return None
        self._facts.refuse_other_model(self._searcher.model_id)
        with self._store.reading() as connection:
            row = connection.execute(
                f"SELECT {_PHOTO_COLUMNS}, name, photos.person, embedding FROM {_PHOTO_TABLES}"
                " WHERE photos.photo_id = ?",
                (photo_id,),
            ).fetchone()
        if row is None:
            return None
        return _photo(row), str(row[7]), as_arrays([(photo_id, *row[8:])])[2][0]

    def embeddings(self, name_or_id: str) -> Floats:
        """Return a person's (K, D) float32 unit embeddings, oldest first; K is 0 if unknown.

        Raises:
            ModelMismatchError: if the file was converted to another model meanwhile.
        """
        self._facts.refuse_other_model(self._searcher.model_id)
        with self._store.reading() as connection:
            try:
                person = find_person(connection, name_or_id)[0]
            except UnknownIdentityError:
                return np.empty((0, self._searcher.embedding_size), np.float32)
            rows = connection.execute(
                "SELECT photo_id, person, embedding FROM photos WHERE person = ? ORDER BY photo_id",
                (person,),
            ).fetchall()
        held = as_arrays(rows)[2]
        return held if len(held) else np.empty((0, self._searcher.embedding_size), np.float32)

    def crop(self, photo_id: int, *, of: str | None = None) -> NDArray[np.uint8] | None:
        """Return a photo's (112, 112, 3) uint8 RGB crop, None where none is stored.

        Args:
            photo_id: of the photo.
            of: the required person, by name or id; None for any.

        Raises:
            UnknownIdentityError: if there is no such person.
        """
        if not is_row_number(photo_id):
            return None
        with self._store.reading() as connection:
            person = None if of is None else find_person(connection, of)[0]
            row = connection.execute(
                "SELECT png, person FROM crops JOIN photos USING (photo_id) WHERE photo_id = ?",
                (photo_id,),
            ).fetchone()
        return None if row is None or person not in (None, row[1]) else decode_crop(row[0])

    def add(self, name: str, photos: Sequence[NewPhoto]) -> tuple[Identity, list[bool]]:
        """Add photos to one person, all in one transaction.

        Returns:
            The person, and for each photo whether it was new.
        """
        identity, added = self._add(Target(name), photos)
        self._searcher.catch_up()
        assert identity is not None  # created if there was none
        return identity, added

    def add_checked(
        self, target: Target, photos: Sequence[NewPhoto], choose: Choose
    ) -> tuple[Identity | None, list[bool]]:
        """Add the photos of a person that pass a check within the writing transaction.

        Args:
            target: the person.
            photos: candidates; one with a source that the person already has is skipped.
            choose: called with the current identity of the target, None for a new person;
                returns the positions of the photos to add. No other writer, in any process,
                writes before they are on disk, and this gallery's index is up to date then.

        Returns:
            The person, None if none was found or created; for each photo whether it was added.

        Raises:
            ErasedIdentityError: if the target's id was erased meanwhile; nothing is added.
            GalleryBusyError: if another process holds the file; nothing is added.
            GalleryError: if it cannot be written; nothing is added.
        """

        def choose_now(identity: Identity | None) -> Collection[int]:
            self._searcher.catch_up()
            return choose(identity)

        result = self._add(target, photos, choose_now)
        self._searcher.catch_up()
        return result

    def move(self, name_or_id: str, photo_ids: Sequence[int], into: str) -> Identity:
        """Move some photos of one person to another existing one, by name or id.

        A photo that both have is kept once.

        Raises:
            UnknownIdentityError: if a photo is not this person's, or a person is unknown.
        """
        with self._store.writing() as connection:
            person = find_person(connection, name_or_id)[0]
            into_person, into_id, into_name = find_person(connection, into)
            _move(connection, person, photo_ids, into_person)
            note(connection, "move", into_id, len(photo_ids))
        self._searcher.catch_up()
        return Identity(into_id, into_name)

    def split(self, name_or_id: str, photo_ids: Sequence[int], name: str) -> Identity:
        """Move some photos of one person to a new person.

        Raises:
            NameTakenError: if another person has the name.
            UnknownIdentityError: if a photo is not this person's.
        """
        name = clean_name(name)
        with self._store.writing() as connection:
            person = find_person(connection, name_or_id)[0]
            holder = other_holder(connection, name, None)
            if holder is not None:
                raise NameTakenError(f"{holder} is another person already: take another name")
            new, new_id, _ = insert_person(connection, name)
            _move(connection, person, photo_ids, new)
            note(connection, "split", new_id, len(photo_ids))
        self._searcher.catch_up()
        return Identity(new_id, name)

    def remove(self, photo_id: int, *, of: str | None = None) -> None:
        """Erase one photo: embedding and crop.

        Args:
            photo_id: of the photo.
            of: the required person, by name or id; None for any.

        Raises:
            UnknownIdentityError: if there is no such photo.
        """
        with self._store.writing() as connection:
            row = connection.execute(
                "SELECT identity_id, person FROM photos JOIN identities USING (person)"
                " WHERE photo_id = ?",
                (photo_id if is_row_number(photo_id) else None,),
            ).fetchone()
            if of is not None and (row is None or row[1] != find_person(connection, of)[0]):
                raise UnknownIdentityError(f"there is no photo {photo_id} of that person")
            if row is None:
                raise UnknownIdentityError(f"there is no photo {photo_id}")
            connection.execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))
            note(connection, "remove_photo", row[0], 1)
        self._store.truncate_log()
        self._searcher.catch_up()

    def _add(
        self, target: Target, photos: Sequence[NewPhoto], choose: Choose | None = None
    ) -> tuple[Identity | None, list[bool]]:
        model_id = self._searcher.model_id
        photos = self._unit(photos)
        encoded = [None if p.crop is None else encode_crop(p.crop) for p in photos]
        with self._store.writing() as connection:
            held = connection.execute("SELECT value FROM facts WHERE key = 'model_id'").fetchone()
            if held is not None and held[0] != model_id:
                raise other_model(self._store.place, str(held[0]), model_id)
            found = target_person(connection, target)
            chosen = set(
                range(len(photos))
                if choose is None
                else choose(None if found is None else Identity(*found[1:]))
            )
            if found is None:
                if choose is not None and not chosen:
                    return None, [False] * len(photos)
                found = insert_person(connection, clean_name(target.name))
            person, identity_id, name = found
            added = [
                position in chosen and _add_photo(connection, person, photo, png, model_id)
                for position, (photo, png) in enumerate(zip(photos, encoded, strict=True))
            ]
            if any(added):
                note(connection, "enroll", identity_id, sum(added))
        return Identity(identity_id, name), added

    def _unit(self, photos: Sequence[NewPhoto]) -> list[NewPhoto]:
        size = self._searcher.embedding_size
        rows = [p.embedding for p in photos]
        nothing = np.empty((0, size), np.float32)
        units, is_usable = unit_rows(np.array(rows, np.float32) if rows else nothing, size)
        if not is_usable.all():
            raise ValueError("an embedding must be finite and not zero")
        return [
            NewPhoto(row, p.crop, p.source_sha256, p.quality)
            for row, p in zip(units, photos, strict=True)
        ]


def _move(connection: Connection, person: int, photo_ids: Sequence[int], into: int) -> None:
    if person == into:
        raise UnknownIdentityError("cannot move photos to the same person: name another")
    for photo_id in photo_ids:
        is_own = (
            is_row_number(photo_id)
            and connection.execute(
                "SELECT 1 FROM photos WHERE photo_id = ? AND person = ?", (photo_id, person)
            ).fetchone()
        )
        if not is_own:
            raise UnknownIdentityError(f"photo {photo_id} is not of this person")
        moved = move_photos(connection, "photo_id = ?", photo_id, into)
        if not moved:  # the other has it already
            connection.execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))


def _photo(row: Sequence[Any]) -> Photo:
    photo_id, identity_id, source_sha256, quality, model_id, created_at, has_crop = row[:7]
    return Photo(
        photo_id, identity_id, source_sha256, quality, model_id, created_at, bool(has_crop)
    )


def _add_photo(
    connection: Connection, person: int, photo: NewPhoto, png: bytes | None, model_id: str
) -> bool:
    cursor = connection.execute(
        "INSERT INTO photos (person, source_sha256, quality, model_id, created_at, embedding)"
        f" VALUES (?, ?, ?, ?, {NOW}, ?) ON CONFLICT (person, source_sha256) DO NOTHING",
        (
            person,
            photo.source_sha256,
            photo.quality,
            model_id,
            Embedding.of(photo.embedding),
        ),
    )
    if cursor.rowcount and png is not None:
        add_crop(connection, person, photo.source_sha256, png)
    return bool(cursor.rowcount)
