"""The visitors of one event log, as people ask about them and change them.

Used in the thread of the event log alone.
"""

import time
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from gallery import Identity
from stream.errors import UnknownVisitorError, VisitorError
from stream.events.identity_sync import truncate_log
from stream.events.log import LoggedFace
from stream.events.schema import transaction
from stream.events.thumbnails import decode_jpeg
from stream.visitors import tables
from stream.visitors.keeping import ENABLED, SightingAssigner
from stream.visitors.tables import OF_ROOT, Seen, Visitor

DAY_S = 86_400.0
MOST_CROPS = 5
"""Crops enrolled when a visitor is named."""


class VisitorBook(SightingAssigner):
    """Visitors of an event log; see `SightingAssigner`."""

    @property
    def join(self) -> float:
        """The cosine from which a track joins a visitor at present."""
        return self._visitors().join

    def count_proposals(self) -> int:
        """Return how many proposals are open."""
        visitors = self._visitors()
        rows = self._connection.execute(tables.PROPOSALS).fetchall()
        return sum(not visitors.are_apart(one, other) for _, _, one, other in rows)

    def page(
        self,
        *,
        cursor: int = 0,
        limit: int = 50,
        camera: str | None = None,
        is_ignored: bool | None = None,
        is_provisional: bool | None = None,
    ) -> tuple[list[Visitor], int]:
        """Return some visitors, the last seen first, and how many there are.

        Args:
            cursor: how many to leave out.
            limit: maximum number.
            camera: only those whom this camera saw.
            is_ignored: only ignored ones, or only others.
            is_provisional: only those seen too briefly to be sure, or only others.
        """
        self.retain()
        where = ""
        values: list[str | int] = []
        if is_ignored is not None:
            where += " AND root.is_ignored = ?"
            values.append(int(is_ignored))
        if is_provisional is not None:
            where += f" AND {tables.PROVISIONAL} = ?"
            values.append(int(is_provisional))
        if camera is not None:
            where += (
                " AND EXISTS (SELECT 1 FROM sightings JOIN visitors AS own "
                "ON own.visitor_id = sightings.visitor_id "
                "WHERE own.root = root.number AND sightings.camera = ?)"
            )
            values.append(camera)
        (total,) = self._one(
            f"SELECT count(*) FROM visitors AS root WHERE root.root = root.number {where}", *values
        )
        return tables.read(
            self._connection, where, "LIMIT ? OFFSET ?", (*values, limit, cursor)
        ), int(total)

    def get(self, visitor_id: str) -> Visitor:
        """Return the visitor with an id, or the one into whom that was merged.

        Raises:
            UnknownVisitorError: if there is none.
        """
        return self._read(self._root(visitor_id))

    def seen(self, visitor_id: str) -> list[Seen]:
        """Return a visitor's newest sightings."""
        return tables.seen(self._connection, self._root(visitor_id))

    def faces(self, visitor_id: str) -> list[LoggedFace]:
        """Return a visitor's best crops, to enroll the person."""
        rows = self._connection.execute(
            f"SELECT crop FROM sightings WHERE visitor_id IN ({OF_ROOT}) "
            "ORDER BY json_extract(quality, '$.overall') DESC LIMIT ?",
            (self._root(visitor_id), MOST_CROPS),
        ).fetchall()
        return [
            LoggedFace(decode_jpeg(jpeg), sha256(jpeg).hexdigest(), None, "", None)
            for (jpeg,) in rows
        ]

    def stays(self, visitor_id: str) -> list[tuple[str, int]]:
        """Return run and first track of a visitor's stays, to name them; see `name`."""
        rows = self._connection.execute(
            f"SELECT DISTINCT run, stay FROM sightings WHERE visitor_id IN ({OF_ROOT})",
            (self._root(visitor_id),),
        ).fetchall()
        return [(str(run), int(stay)) for run, stay in rows]

    def name(
        self, visitor_id: str, stays: Sequence[tuple[str, int]], identity: Identity
    ) -> list[tuple[str, str]]:
        """Give a visitor's events to a person; the visitor is no more.

        Args:
            visitor_id: of the visitor. It may be gone: its face was recognized meanwhile.
            stays: of the visitor, before the person was enrolled.
            identity: the person.

        Returns:
            Camera and id of its tracks that have not ended.
        """
        live = []
        with transaction(self._connection):
            for run, stay in stays:
                self._connection.execute(
                    "UPDATE events SET identity_id = ?, name = ?, similarity = NULL "
                    "WHERE identity_id IS NULL AND name IS NULL AND run = ? AND track_number = ?",
                    (identity.identity_id, identity.name, run, stay),
                )
                live += self._connection.execute(
                    "SELECT camera, run || '-' || track_number FROM sightings "
                    "WHERE NOT is_over AND run = ? AND stay = ?",
                    (run, stay),
                ).fetchall()
            row = self._connection.execute(
                "SELECT root FROM visitors WHERE visitor_id = ?", (visitor_id,)
            ).fetchone()
            if row is not None:
                self._remove(int(row[0]))
        self.forget()
        return [(str(camera), str(track_id)) for camera, track_id in live]

    def merge(self, visitor_id: str, into_id: str) -> Visitor:
        """Make two visitors one; `unmerge` undoes it.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            VisitorError: if they are one already, or were in view together.
        """
        visitor, into = self._root(visitor_id), self._root(into_id)
        if visitor == into:
            raise VisitorError("both are the same visitor: name two different ones")
        if self._visitors().are_apart(visitor, into):
            raise VisitorError(
                f"Visitor {visitor} and Visitor {into} are different people: they were in view "
                "together, or were told apart"
            )
        with transaction(self._connection):
            tables.merge(self._connection, visitor, into)
        self.forget()
        return self._read(into)

    def unmerge(self, visitor_id: str) -> tuple[Visitor, Visitor]:
        """Undo the latest merge into a visitor; they are never merged by themselves again.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            VisitorError: if nothing was merged into it.
        """
        root = self._root(visitor_id)
        row = self._connection.execute(
            "SELECT number FROM visitors WHERE merged_into = ? ORDER BY merged_at DESC LIMIT 1",
            (root,),
        ).fetchone()
        if row is None:
            raise VisitorError(f"nothing was merged into Visitor {root}")
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE visitors SET merged_into = NULL, merged_at = NULL WHERE number = ?", row
            )
            tables.set_roots(self._connection)
            tables.keep_apart(self._connection, [(root, int(row[0]))])
        self.forget()
        return self._read(root), self._read(int(row[0]))

    def split(self, visitor_id: str, sighting_ids: Sequence[int]) -> Visitor:
        """Make a visitor of some sightings of another one.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            VisitorError: if they are not its sightings, or all of them.
        """
        root = self._root(visitor_id)
        own = {
            int(number)
            for (number,) in self._connection.execute(
                f"SELECT id FROM sightings WHERE visitor_id IN ({OF_ROOT})", (root,)
            )
        }
        wanted = set(sighting_ids)
        if not wanted <= own:
            raise VisitorError(f"some of these are no sightings of Visitor {root}")
        if wanted == own:
            raise VisitorError(f"these are all sightings of Visitor {root}: leave it some")
        marks = ", ".join("?" * len(wanted))
        with transaction(self._connection):
            (began,) = self._one(f"SELECT min(began) FROM sightings WHERE id IN ({marks})", *wanted)
            number, new_id = tables.found(self._connection, began)
            tables.uncount(self._connection, root, list(wanted))
            self._connection.execute(
                f"UPDATE sightings SET visitor_id = ? WHERE id IN ({marks})", (new_id, *wanted)
            )
            self._connection.execute(
                "UPDATE events SET visitor_id = ? WHERE id IN "
                f"(SELECT event_id FROM sightings WHERE id IN ({marks}))",
                (new_id, *wanted),
            )
            self._connection.execute(
                "UPDATE visitors SET (last_seen, visit_count) = (SELECT max(ended), "
                "count(DISTINCT run || '-' || stay) FROM sightings WHERE visitor_id = ?) "
                "WHERE number = ?",
                (new_id, number),
            )
            tables.keep_apart(self._connection, [(root, number)])
        self.forget()
        return self._read(number)

    def ignore(self, visitor_id: str, *, is_ignored: bool) -> Visitor:
        """Announce a visitor never again on any camera, or as usual again."""
        root = self._root(visitor_id)
        visitors = self._visitors()
        rows = list(visitors.exemplars(root).values()) if is_ignored else []
        kept = np.stack(rows).astype("<f2").tobytes() if rows else None
        model_id = self._gallery.model_id if rows else None
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE visitors SET is_ignored = ?, kept = ?, kept_model = ?, kept_poor = ? "
                "WHERE number = ?",
                (int(is_ignored), kept, model_id, int(visitors.is_poor(root)), root),
            )
        self.forget()
        return self._read(root)

    def erase(self, visitor_id: str) -> None:
        """Erase a visitor with its events, sightings and crops."""
        root = self._root(visitor_id)
        with transaction(self._connection):
            self._connection.execute(f"DELETE FROM events WHERE {_ITS_EVENTS}", (root,))
            self._remove(root)
        truncate_log(self._connection)
        self.forget()

    def erase_all(self) -> int:
        """Erase all visitors as `erase` does; return how many."""
        with transaction(self._connection):
            (count,) = self._one("SELECT count(*) FROM visitors WHERE root = number")
            for (root,) in self._connection.execute(
                "SELECT number FROM visitors WHERE root = number"
            ).fetchall():
                self._connection.execute(f"DELETE FROM events WHERE {_ITS_EVENTS}", (root,))
            self._connection.execute("UPDATE events SET visitor_id = NULL, visit_count = NULL")
            self._connection.execute("UPDATE sightings SET visitor_id = NULL")
            self._connection.execute("DELETE FROM visitors")
        truncate_log(self._connection)
        self.forget()
        return int(count)

    def proposals(self) -> list[tuple[int, float, Visitor, Visitor]]:
        """Return number, cosine and both visitors of each open proposal, the likeliest first."""
        rows = self._connection.execute(f"{tables.PROPOSALS} LIMIT 100").fetchall()
        visitors = self._visitors()
        return [
            (int(number), float(similarity), self._read(one), self._read(other))
            for number, similarity, one, other in rows
            if not visitors.are_apart(one, other)
        ]

    def answer(self, proposal_id: int, *, is_same: bool) -> Visitor | None:
        """Merge the visitors of a proposal, or keep them apart for ever.

        Returns:
            The merged visitor; None where they are different people.

        Raises:
            VisitorError: if there is no such proposal.
        """
        row = self._connection.execute(
            "SELECT a.root, b.root, a.visitor_id, b.visitor_id FROM visitor_proposals "
            "JOIN visitors AS a ON a.number = one JOIN visitors AS b ON b.number = other "
            "WHERE visitor_proposals.id = ?",
            (proposal_id,),
        ).fetchone()
        if row is None:
            raise UnknownVisitorError(f"proposal {proposal_id}")
        one, other, one_id, other_id = row
        if is_same:
            return self.merge(other_id, one_id)
        with transaction(self._connection):
            tables.keep_apart(self._connection, [(one, other)])
        self.forget()
        return None

    def switch(self, *, is_enabled: bool) -> None:
        """Begin or stop to assign visitors, also after a restart; nothing is erased."""
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)", (ENABLED, str(int(is_enabled)))
            )
        self.is_enabled = is_enabled
        self.forget()

    def retain(self) -> None:
        """Erase visitors that were not seen for `keep_days`, and those of whom nothing is kept."""
        ended = time.time() - self.keep_days * DAY_S
        rows = self._connection.execute(
            "SELECT root FROM visitors GROUP BY root HAVING NOT max(is_ignored) AND ("
            "max(last_seen) < ? OR NOT EXISTS (SELECT 1 FROM sightings JOIN visitors AS own "
            "ON own.visitor_id = sightings.visitor_id WHERE own.root = visitors.root))",
            (ended,),
        ).fetchall()
        if not rows:
            return
        with transaction(self._connection):
            for (root,) in rows:
                self._remove(root)
        truncate_log(self._connection)
        self.forget()

    def _read(self, root: int) -> Visitor:
        (visitor,) = tables.read(self._connection, " AND root.number = ?", "", (root,))
        return visitor

    def _remove(self, root: int) -> None:
        """Delete a visitor and what refers to it, not its sightings and events."""
        for change in ("events SET visit_count = NULL,", "sightings SET"):
            self._connection.execute(
                f"UPDATE {change} visitor_id = NULL WHERE visitor_id IN ({OF_ROOT})", (root,)
            )
        self._connection.execute("DELETE FROM visitors WHERE root = ?", (root,))


# Exits have no visitor of their own: they are of the stay.
_ITS_EVENTS = (
    "identity_id IS NULL AND name IS NULL AND (run, track_number) IN "
    f"(SELECT run, stay FROM sightings WHERE visitor_id IN ({OF_ROOT}))"
)
