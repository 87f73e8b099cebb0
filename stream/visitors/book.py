"""The visitors of one event log, as people ask about them and change them.

Used in the thread of the event log alone.
"""

import time
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from gallery import Identity
from recognizer import Floats
from stream.errors import MachineError, UnknownVisitorError, VisitorError
from stream.events.identity_sync import truncate_log
from stream.events.log import VISITOR, LoggedFace
from stream.events.sightings import PROVISIONAL
from stream.events.thumbnails import decode_jpeg
from stream.visitors import tables
from stream.visitors.assignment import likeness
from stream.visitors.keeping import ENABLED, SightingAssigner
from stream.visitors.tables import OF_ROOT, Seen, Visitor

MOST_PROPOSALS = 100
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
        name: str | None = None,
    ) -> tuple[list[Visitor], int]:
        """Return some visitors, the last seen first, and how many there are.

        Args:
            cursor: how many to leave out.
            limit: maximum number.
            camera: only those whom this camera saw.
            is_ignored: only ignored ones, or only others.
            is_provisional: only those seen too briefly to be sure, or only others.
            name: only the one called so, such as "Visitor 12", in upper or lower case, or into
                whom that one was merged.
        """
        with self._changing():
            self._expire(time.time())
        where = ""
        values: list[str | int] = []
        if is_ignored is not None:
            where += " AND root.is_ignored = ?"
            values.append(int(is_ignored))
        if is_provisional is not None:
            where += f" AND {PROVISIONAL} = ?"
            values.append(int(is_provisional))
        if name is not None:
            called = VISITOR.fullmatch(name.strip())
            where += " AND root.number = (SELECT root FROM visitors WHERE number = ?)"
            values.append(-1 if called is None else int(called[1]))
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
        with self._changing():
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
                self._remove_all([int(row[0])])
        self.erased()
        return [(str(camera), str(track_id)) for camera, track_id in live]

    def merge(self, visitor_id: str, into_id: str, *, force: bool = False) -> Visitor:
        """Make two visitors one, ignored if `into_id` is; `unmerge` undoes it.

        Args:
            visitor_id: of the one.
            into_id: of the one that stays.
            force: whether a person says that they are the same one although they were in view
                together, as in a mirror, or were told apart.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            VisitorError: if they are one already, or were in view together or told apart.
        """
        visitor, into = self._root(visitor_id), self._root(into_id)
        if visitor == into:
            raise VisitorError("both are the same visitor: name two different ones")
        if not force and self._visitors().are_apart(visitor, into):
            raise VisitorError(
                f"Visitor {visitor} and Visitor {into} are different people: they were in view "
                "together, or were told apart"
            )
        rows = list(self._visitors().exemplars(visitor).values())
        with self._changing():
            tables.keep_apart_no_more(self._connection, visitor, into)
            if into in self._ignored:
                self._hold(visitor, rows)
            tables.merge(self._connection, visitor, into)
        self._refresh(visitor, into)
        return self._read(into)

    def unmerge(self, visitor_id: str, merged_id: str | None = None) -> tuple[Visitor, Visitor]:
        """Undo a merge into a visitor; the two are never merged by themselves again.

        What was seen of them since then goes to the more similar one.

        Args:
            visitor_id: of the visitor.
            merged_id: of the one that was merged into it; None for the latest.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            VisitorError: if nothing was merged into it, or not that one.
        """
        root = self._root(visitor_id)
        row = self._connection.execute(
            "SELECT number, merged_time, is_ignored FROM visitors WHERE root = ?1 "
            "AND merged_into IS NOT NULL AND (?2 IS NULL OR visitor_id = ?2) "
            "ORDER BY merged_at DESC LIMIT 1",
            (root, merged_id),
        ).fetchone()
        if row is None:
            what = "nothing" if merged_id is None else f"no visitor {merged_id}"
            raise VisitorError(f"{what} was merged into Visitor {root}")
        number, since, is_ignored = row
        with self._changing():
            tables.unmerge(self._connection, number)
            tables.keep_apart(self._connection, [(root, number)])
            if not is_ignored:
                self._hold(number, [])
            if since is not None:
                self._divide(root, number, since)
        self._refresh(root, number)
        own = [row for each, row in self._visitors().exemplars(root).items() if each >= 0]
        if root in self._ignored and own:  # what it held may be of the other one
            self._hold(root, own)
            self._refresh(root)
        return self._read(root), self._read(number)

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
        if self.lacks_number:
            raise MachineError("no number is reserved for a new visitor: try again in a moment")
        marks = ", ".join("?" * len(wanted))
        with self._changing():
            (began,) = self._one(f"SELECT min(began) FROM sightings WHERE id IN ({marks})", *wanted)
            number, _ = tables.found(self._connection, began)
            tables.move(self._connection, sorted(wanted), root, number)
            tables.keep_apart(self._connection, [(root, number)])
        self._refresh(root, number)
        return self._read(number)

    def ignore(self, visitor_id: str, *, is_ignored: bool) -> Visitor:
        """Announce a visitor never again on any camera, or as usual again."""
        root = self._root(visitor_id)
        rows = list(self._visitors().exemplars(root).values())
        with self._changing():
            if is_ignored:
                self._connection.execute(
                    "UPDATE visitors SET is_ignored = 1 WHERE number = ?", (root,)
                )
                self._hold(root, rows)
            else:  # nor is one that was merged into it, should that be undone
                self._connection.execute(
                    "UPDATE visitors SET is_ignored = 0, kept = NULL, kept_model = NULL "
                    "WHERE root = ?",
                    (root,),
                )
        self._refresh(root)
        return self._read(root)

    def erase(self, visitor_id: str) -> None:
        """Erase a visitor with its events, sightings and crops."""
        root = self._root(visitor_id)
        with self._changing():
            self._connection.execute(f"DELETE FROM events WHERE {_ITS_EVENTS}", (root,))
            self._remove_all([root])
        truncate_log(self._connection)
        self.erased()

    def erase_all(self) -> int:
        """Erase all visitors as `erase` does; return how many."""
        with self._changing():
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
        """Return number, cosine and both visitors of open proposals, the likeliest first."""
        rows = self._connection.execute(tables.PROPOSALS).fetchall()
        visitors = self._visitors()
        shown = [row for row in rows if not visitors.are_apart(row[2], row[3])][:MOST_PROPOSALS]
        return [
            (int(number), float(similarity), self._read(one), self._read(other))
            for number, similarity, one, other in shown
        ]

    def answer(self, proposal_id: int, *, is_same: bool | None) -> Visitor | None:
        """Merge the visitors of a proposal, or keep them apart.

        Where one is ignored, it stays, and the other one is so, too.

        Args:
            proposal_id: its number.
            is_same: whether they are one person; None takes back that they are different people.

        Returns:
            The merged visitor; None where they are different people, or that was taken back.

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
        self._visitors()
        if is_same:
            if other in self._ignored:  # then both are
                one_id, other_id = other_id, one_id
            return self.merge(other_id, one_id)
        with self._changing():
            if is_same is None:
                tables.keep_apart_no_more(self._connection, one, other)
            else:
                tables.keep_apart(self._connection, [(one, other)])
        self._refresh(one, other)
        return None

    def switch(self, *, is_enabled: bool) -> None:
        """Begin or stop to assign visitors, also after a restart; nothing is erased."""
        with self._changing():
            self._connection.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)", (ENABLED, str(int(is_enabled)))
            )
        self.is_enabled = is_enabled
        self.forget()

    def retain(self, wall_now: float) -> None:
        """Erase visitors that were not seen for `keep_days`, and those of whom nothing is kept.

        Ignored ones stay. Of several machines that share them, the one that assigns does so.

        Args:
            wall_now: seconds since 1970.
        """
        if not self.may_change:
            return
        self._due = float("-inf")
        with self._changing():
            n_expired = self._expire(wall_now)
            rows = self._connection.execute(
                "SELECT root FROM visitors GROUP BY root "
                "HAVING NOT max(is_ignored AND number = root) AND NOT EXISTS ("
                "SELECT 1 FROM sightings JOIN visitors AS own "
                "ON own.visitor_id = sightings.visitor_id WHERE own.root = visitors.root)"
            ).fetchall()
            self._remove_all([int(root) for (root,) in rows])
        if n_expired or rows:
            truncate_log(self._connection)

    def _read(self, root: int) -> Visitor:
        (visitor,) = tables.read(self._connection, " AND root.number = ?", "", (root,))
        return visitor

    def _hold(self, number: int, rows: Sequence[Floats]) -> None:
        """Keep templates with a visitor, which outlive its sightings; none to keep none."""
        root = self._one("SELECT root FROM visitors WHERE number = ?", number)[0]
        self._connection.execute(
            "UPDATE visitors SET kept = ?, kept_model = ?, kept_poor = ? WHERE number = ?",
            (
                np.stack(rows).astype("<f2").tobytes() if rows else None,
                self._gallery.model_id if rows else None,
                int(self._visitors().is_poor(root)),
                number,
            ),
        )

    def _divide(self, root: int, number: int, since: float) -> None:
        """Give a visitor what was seen of it after it had been merged into another one.

        Args:
            root: into which it was merged.
            number: of the visitor.
            since: the time of the merge, seconds since 1970.
        """
        rows = self._connection.execute(
            "SELECT sightings.id, root, began >= ?, template FROM sightings "
            "JOIN visitors ON visitors.visitor_id = sightings.visitor_id "
            "WHERE root IN (?, ?) AND model_id = ?",
            (since, root, number, self._gallery.model_id),
        ).fetchall()
        own = [tables.from_bytes(row[3]) for row in rows if row[1] == number]
        before = [tables.from_bytes(row[3]) for row in rows if row[1] == root and not row[2]]
        if not own or not before:
            return
        ones, others = np.stack(own), np.stack(before)
        moved = []
        for sighting_id, holder, is_later, template in rows:
            one = tables.from_bytes(template)
            if holder == root and is_later and likeness(ones, one) > likeness(others, one):
                moved.append(int(sighting_id))
        if moved:
            tables.move(self._connection, moved, root, number)


# Exits have no visitor of their own: they are of the stay.
_ITS_EVENTS = (
    "identity_id IS NULL AND name IS NULL AND (run, track_number) IN "
    f"(SELECT run, stay FROM sightings WHERE visitor_id IN ({OF_ROOT}))"
)
