"""The people of a gallery: lookup by name or id, and changes."""

import base64
from bisect import bisect_right
from collections.abc import Sequence

from gallery import templates
from gallery.errors import NameTakenError, UnknownIdentityError
from gallery.identities import Identity, IdentitySummary, PeoplePage
from gallery.names import clean_name, composed, is_storable, letters_of, name_key, sort_key
from gallery.person_rows import (
    NOW,
    find_person,
    move_photos,
    note,
    other_holder,
    person_of_id,
    person_of_name,
)
from gallery.shards import AnySearcher
from gallery.store import WAIT_TO_READ_S, Store


class People:
    """The people of one gallery.

    Thread-safe. A change is on disk and in the index on return.

    Args:
        store: of the gallery.
        searcher: updated with each change.
    """

    def __init__(self, store: Store, searcher: AnySearcher) -> None:
        self._store = store
        self._searcher = searcher
        self._order: tuple[int, list[tuple[str, Identity]]] = (-1, [])

    def count(self) -> int:
        """Return the number of people, with or without photos."""
        return templates.count_people(self._store)

    def find(self, name_or_id: str) -> Identity:
        """Return the identity of an id, else of a name.

        Raises:
            UnknownIdentityError: if there is neither.
        """
        with self._store.reading() as connection:
            return Identity(*find_person(connection, name_or_id)[1:])

    def named(self, name: str) -> Identity | None:
        """Return the person of a name, None if there is none."""
        with self._store.reading() as connection:
            found = person_of_name(connection, name)
        return None if found is None else Identity(*found[1:])

    def present(
        self, identity_ids: Sequence[str], *, wait_s: float = WAIT_TO_READ_S
    ) -> dict[str, Identity]:
        """Return the current identities of ids, after renames and merges; without erased ones.

        Args:
            identity_ids: of people, known or not.
            wait_s: see `Store.reading`.
        """
        present = {}
        with self._store.reading(wait_s=wait_s) as connection:
            for identity_id in filter(is_storable, identity_ids):
                found = person_of_id(connection, identity_id)
                if found is not None:
                    present[identity_id] = Identity(*found[1:])
        return present

    def removed(self, identity_ids: Sequence[str]) -> set[str]:
        """Return the ids that were erased here and not added again."""
        with self._store.reading() as connection:
            return {
                identity_id
                for identity_id in identity_ids
                if is_storable(identity_id)
                and connection.execute(
                    "SELECT 1 FROM removed WHERE identity_id = ? AND NOT EXISTS"
                    " (SELECT 1 FROM identities WHERE identity_id = ?)",
                    (identity_id,) * 2,
                ).fetchone()
            }

    def summaries(self, identity_ids: Sequence[str] | None = None) -> list[IdentitySummary]:
        """Return all people by name, or the existing ones of some ids."""
        columns = (
            "SELECT identity_id, name, (SELECT count(*) FROM photos"
            " WHERE photos.person = identities.person), created_at, notes FROM identities"
        )
        with self._store.reading() as connection:
            if identity_ids is None:
                rows = connection.execute(columns).fetchall()
            else:
                rows = [
                    row
                    for identity_id in identity_ids
                    for row in connection.execute(
                        f"{columns} WHERE identity_id = ?", (identity_id,)
                    )
                ]
        rows.sort(key=lambda row: sort_key(row[1]))
        return [IdentitySummary(Identity(i, name), *rest) for i, name, *rest in rows]

    def page(self, *, limit: int, cursor: str | None = None, search: str = "") -> PeoplePage:
        """Return a page of people by name, with the cursor of the next.

        Args:
            limit: maximum number, >= 1.
            cursor: of the previous page; None for the first.
            search: part of the names, ignoring case and accents; "" for all people.

        Raises:
            ValueError: if it is not a cursor of this list.
        """
        self._searcher.refresh()
        order = self._alphabetical()
        if search:
            wanted = letters_of(sort_key(composed(search)))
            order = [each for each in order if wanted in letters_of(each[0])]
        start = 0
        if cursor is not None:
            start = bisect_right(order, _from_cursor(cursor), key=lambda each: each[0])
        shown = order[start : start + limit]
        is_end = start + limit >= len(order)
        return PeoplePage(
            tuple(self.summaries([identity.identity_id for _, identity in shown])),
            None if is_end else _to_cursor(shown[-1][0]),
            len(order),
        )

    def rename(self, name_or_id: str, name: str) -> Identity:
        """Rename a person.

        Raises:
            NameTakenError: if another person has the name.
            UnknownIdentityError: if there is no such person.
        """
        name = clean_name(name)
        with self._store.writing() as connection:
            person, identity_id, _ = find_person(connection, name_or_id)
            holder = other_holder(connection, name, person)
            if holder is not None:
                raise NameTakenError(
                    f"{holder} is another person already: merge the two or take another name"
                )
            connection.execute(
                "UPDATE identities SET name = ?, name_key = ? WHERE person = ?",
                (name, name_key(name), person),
            )
            note(connection, "rename", identity_id, 0)
        self._searcher.catch_up()
        return Identity(identity_id, name)

    def merge(self, name_or_id: str, into: str) -> Identity:
        """Move all photos of one person to another, by name or id, and remove the first.

        A photo that both have is kept once.
        """
        with self._store.writing() as connection:
            person, identity_id, _ = find_person(connection, name_or_id)
            into_person, into_id, into_name = find_person(connection, into)
            if person == into_person:
                raise UnknownIdentityError("cannot merge a person with themselves: name two people")
            moved = move_photos(connection, "person = ?", person, into_person)
            connection.execute("DELETE FROM identities WHERE person = ?", (person,))
            connection.execute(
                "UPDATE successors SET into_id = ? WHERE into_id = ?", (into_id, identity_id)
            )
            connection.execute(
                "INSERT INTO successors (identity_id, into_id) VALUES (?, ?)"
                " ON CONFLICT (identity_id) DO UPDATE SET into_id = excluded.into_id",
                (identity_id, into_id),
            )
            note(connection, "merge", into_id, moved)
        self._searcher.catch_up()
        return Identity(into_id, into_name)

    def remove(self, name_or_id: str) -> None:
        """Erase a person: name, notes, embeddings and crops, also from a file's free pages."""
        with self._store.writing() as connection:
            person, identity_id, _ = find_person(connection, name_or_id)
            n_photos = connection.execute(
                "SELECT count(*) FROM photos WHERE person = ?", (person,)
            ).fetchone()[0]
            connection.execute("DELETE FROM identities WHERE person = ?", (person,))
            # With the people merged into them, so that an outdated event log erases all of them.
            merged = connection.execute(
                "SELECT identity_id FROM successors WHERE into_id = ?", (identity_id,)
            ).fetchall()
            connection.executemany(
                f"INSERT INTO removed (identity_id, at) VALUES (?, {NOW})"
                " ON CONFLICT (identity_id) DO UPDATE SET at = excluded.at",
                [(identity_id,), *merged],
            )
            connection.execute("DELETE FROM successors WHERE into_id = ?", (identity_id,))
            note(connection, "remove", identity_id, n_photos)
        self._store.truncate_log()
        self._searcher.catch_up()

    def _alphabetical(self) -> list[tuple[str, Identity]]:
        revision, order = self._order
        if revision != self._searcher.known_revision:
            revision = self._searcher.known_revision
            order = sorted(
                ((sort_key(identity.name), identity) for identity in self._searcher.identities()),
                key=lambda each: (each[0], each[1].identity_id),
            )
            self._order = revision, order
        return order


def _to_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise ValueError(
            "not a cursor of a list of people: use the one of the previous page"
        ) from error
