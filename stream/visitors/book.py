"""The visitors of one event log: assigned with each sighting, in its transaction.

Used in the thread of the event log alone. What is in memory follows from the database: where a
transaction fails, it is read again.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from gallery import Gallery, Identity
from stream.errors import UnknownVisitorError, VisitorError
from stream.events.identity_sync import fact, truncate_log
from stream.events.log import EventLog, LoggedFace
from stream.events.schema import transaction
from stream.events.thumbnails import decode_jpeg
from stream.frames import Sighting
from stream.visitors import tables
from stream.visitors.assignment import MAYBE_BELOW, MIN_SHOTS, JoinLimits, Tracklet, Visitors
from stream.visitors.tables import MIN_GOOD, OF_ROOT, Seen, Visitor

ENABLED = "visitors_enabled"
"""The fact that holds the switch of the page, which precedes the configuration's."""

MIN_FACE_PX = 48
"""Side of the smallest face that is assigned: smaller ones of two people are too alike."""

POOR_SHOTS, POOR_S = 6, 1.5
"""Shots of any quality, and seconds in view, of a track assigned without enough good shots."""

NEAR_KNOWN = 0.05
"""Cosine below the match threshold from which a face may be an enrolled person's: no stranger."""

DAY_S = 86_400.0
MOST_CROPS = 5
"""Crops enrolled when a visitor is named."""


class VisitorBook:
    """Visitors of an event log.

    Args:
        event_log: calls `keep` within its transactions; read and written only in its thread.
        gallery: whose people are no visitors.
        limits: of the model.
        threshold: returns the present match threshold, cosine.
        is_enabled: as configured; the switch of the page precedes it.
        keep_days: days after the last sighting when a visitor is erased.
    """

    def __init__(
        self,
        event_log: EventLog,
        gallery: Gallery,
        *,
        limits: JoinLimits,
        threshold: Callable[[], float],
        is_enabled: bool,
        keep_days: float,
    ) -> None:
        self.keep_days = keep_days
        self._event_log = event_log
        self._connection = event_log.connection
        self._gallery = gallery
        self._limits = limits
        self._threshold = threshold
        switched = fact(self._connection, ENABLED)
        self.is_enabled = is_enabled if switched is None else switched == "1"
        self._memory: Visitors | None = None
        self._ignored: set[int] = set()

    # With each sighting, in its transaction

    def is_ignored(self, sighting: Sighting) -> bool:
        """Return whether a track shows an ignored visitor, of whom nothing is announced or kept."""
        if not self.is_enabled:
            return False
        visitors = self._visitors()
        if not self._ignored or sighting.n_shots < MIN_SHOTS or sighting.face_px < MIN_FACE_PX:
            return False
        found = visitors.similar(_tracklet(sighting))
        return bool(found) and found[0][1] >= visitors.join and found[0][0] in self._ignored

    def keep(self, sighting_id: int, sighting: Sighting) -> None:
        """Assign a sighting that was stored just now; in the transaction that stored it."""
        if not self.is_enabled:
            return
        row = self._one(
            "SELECT sightings.visitor_id, events.identity_id, sightings.run, sightings.stay, "
            "events.id, sightings.began, sightings.ended, events.name, events.visitor_id "
            "FROM sightings JOIN events ON events.id = event_id WHERE sightings.id = ?",
            sighting_id,
        )
        held, identity_id, run, stay, event_id, began, ended, name, shown = row
        visitors = self._visitors()
        before = None if held is None else self._root(held)
        if identity_id is not None or name is not None:
            if before is not None:  # recognized after all
                self._unassign(sighting_id, before)
            return
        if not self._is_stranger(sighting):
            return
        tracklet = _tracklet(sighting)
        beside = self._beside(sighting)
        is_alone = before is not None and self._is_alone(sighting_id, before)
        if before is not None and not is_alone and not visitors.fits(before, tracklet.template):
            self._unassign(sighting_id, before)  # the track shows another face now
            visitors, before = self._visitors(), None
        if before is not None and not is_alone:
            # Grown: it stays where it is, with a better template.
            visitors.add(before, {sighting_id: tracklet.template}, is_poor=tracklet.is_poor)
            visitor = before
            if shown is None:  # a track that is seen on, in the next stay
                self._put(sighting_id, visitor, run, stay, event_id)
            self._touch(visitor, ended)
            self._keep_apart(visitor, beside)
            return
        if before is not None:
            beside |= visitors.apart(before)
            visitors.drop(before)
        visitor, is_new, maybe = self._choose(sighting_id, tracklet, beside, run, stay, before)
        if is_new and before is None:
            number, _ = tables.found(self._connection, began)
            assert number == visitor
        if before != visitor:
            self._put(sighting_id, visitor, run, stay, event_id)
        if before is not None and before != visitor:
            self._connection.execute("DELETE FROM visitors WHERE number = ?", (before,))
        self._touch(visitor, ended)
        self._keep_apart(visitor, beside)
        tables.propose(self._connection, visitor, dict(maybe))

    def _choose(
        self,
        sighting_id: int,
        tracklet: Tracklet,
        beside: set[int],
        run: str,
        stay: int,
        before: int | None,
    ) -> tuple[int, bool, tuple[tuple[int, float], ...]]:
        visitors = self._visitors()
        own = self._connection.execute(
            "SELECT DISTINCT visitor_id FROM sightings WHERE run = ? AND stay = ? AND id != ? "
            "AND visitor_id IS NOT NULL",
            (run, stay, sighting_id),
        ).fetchall()
        same_stay = {self._root(each) for (each,) in own} - beside
        for visitor, similarity in visitors.similar(tracklet, beside=beside)[:1]:
            # The place and the moment say the same as the face.
            if visitor in same_stay and similarity >= visitors.join - MAYBE_BELOW:
                visitors.add(visitor, {sighting_id: tracklet.template}, is_poor=tracklet.is_poor)
                return visitor, False, ()
        key = before if before is not None else self._next_number()
        assigned = visitors.assign(sighting_id, tracklet, beside=beside, key=key)
        assert assigned.visitor is not None
        return assigned.visitor, assigned.is_new, assigned.maybe

    def _put(self, sighting_id: int, visitor: int, run: str, stay: int, event_id: int) -> None:
        """Write the visitor of a sighting and of its stay's events; count the visit once."""
        (visitor_id,) = self._one("SELECT visitor_id FROM visitors WHERE number = ?", visitor)
        is_counted = self._connection.execute(
            "SELECT 1 FROM events WHERE run = ? AND track_number = ? "
            f"AND visitor_id IN ({OF_ROOT})",
            (run, stay, visitor),
        ).fetchone()
        if is_counted is None:
            self._connection.execute(
                "UPDATE visitors SET visit_count = visit_count + 1 WHERE number = ?", (visitor,)
            )
        self._connection.execute(
            "UPDATE sightings SET visitor_id = ? WHERE id = ?", (visitor_id, sighting_id)
        )
        (count,) = self._one("SELECT sum(visit_count) FROM visitors WHERE root = ?", visitor)
        self._connection.execute(
            "UPDATE events SET visitor_id = ?, visit_count = ? WHERE id = ?",
            (visitor_id, count, event_id),
        )

    def _unassign(self, sighting_id: int, visitor: int) -> None:
        self._visitors().drop_track(visitor, sighting_id)
        self._connection.execute(
            "UPDATE sightings SET visitor_id = NULL WHERE id = ?", (sighting_id,)
        )
        self._drop_empty(visitor)
        if visitor not in self._visitors():
            self.forget()  # it may have templates that were not kept in memory

    def _is_alone(self, sighting_id: int, visitor: int) -> bool:
        """Return whether nothing else is kept of a sighting's visitor."""
        row = self._connection.execute(
            f"SELECT 1 FROM sightings WHERE id != ? AND visitor_id IN ({OF_ROOT})",
            (sighting_id, visitor),
        ).fetchone()
        return row is None and not self._visitors().exemplars(visitor).keys() - {sighting_id}

    def _drop_empty(self, visitor: int) -> None:
        """Delete a visitor of whom nothing is kept, unless it is ignored."""
        if self._connection.execute(
            f"SELECT 1 FROM sightings WHERE visitor_id IN ({OF_ROOT})", (visitor,)
        ).fetchone():
            return
        self._connection.execute(
            "DELETE FROM visitors WHERE root = ? AND is_ignored = 0", (visitor,)
        )

    def _touch(self, visitor: int, at: float) -> None:
        self._connection.execute(
            "UPDATE visitors SET last_seen = max(last_seen, ?) WHERE number = ?", (at, visitor)
        )

    def _keep_apart(self, visitor: int, beside: set[int]) -> None:
        for other in beside:
            self._visitors().keep_apart(visitor, other)
        tables.keep_apart(self._connection, [(visitor, other) for other in beside])

    def _beside(self, sighting: Sighting) -> set[int]:
        """Return the visitors of the tracks that were in view at the same time."""
        found = set()
        for track_id in sighting.beside:
            run, _, number = track_id.rpartition("-")
            row = self._connection.execute(
                "SELECT visitor_id FROM sightings WHERE run = ? AND track_number = ?",
                (run, int(number)),
            ).fetchone()
            if row is not None and row[0] is not None:
                found.add(self._root(row[0]))
        return found

    def _is_stranger(self, sighting: Sighting) -> bool:
        is_enough = sighting.n_good >= MIN_GOOD or (
            sighting.n_shots >= POOR_SHOTS and sighting.ended - sighting.began >= POOR_S
        )
        if not is_enough or sighting.face_px < MIN_FACE_PX:
            return False
        (nearest,) = self._gallery.best(sighting.template[np.newaxis])
        return not nearest or nearest[0].similarity < self._threshold() - NEAR_KNOWN

    # In memory

    def _visitors(self) -> Visitors:
        if self._memory is None:
            memory = Visitors(self._limits, self._gallery.embedding_size)
            model_id, size = self._gallery.model_id, self._gallery.embedding_size
            for is_poor in (False, True):  # the good ones first, beside which no other is kept
                for number, own in tables.templates(
                    self._connection, model_id, size, is_poor=is_poor
                ).items():
                    memory.add(number, own, is_poor=is_poor)
            for one, other in tables.apart(self._connection):
                memory.keep_apart(one, other)
            rows = self._connection.execute("SELECT root FROM visitors WHERE is_ignored")
            self._ignored = {int(number) for (number,) in rows.fetchall()}
            self._memory = memory
        return self._memory

    def forget(self) -> None:
        """Read the visitors again at the next use: events were erased, or a transaction undone."""
        self._memory = None

    def _root(self, visitor_id: str) -> int:
        row = self._connection.execute(
            "SELECT root FROM visitors WHERE visitor_id = ?", (visitor_id,)
        ).fetchone()
        if row is None:
            raise UnknownVisitorError(visitor_id)
        return int(row[0])

    def _next_number(self) -> int:
        row = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'visitors'"
        ).fetchone()
        return 1 if row is None else int(row[0]) + 1

    def _one(self, statement: str, *values: object) -> tuple[Any, ...]:
        row = self._connection.execute(statement, values).fetchone()
        return tuple(row)

    # What people ask and change

    def page(
        self,
        *,
        cursor: int = 0,
        limit: int = 50,
        camera: str | None = None,
        is_ignored: bool | None = None,
    ) -> tuple[list[Visitor], int]:
        """Return some visitors, the last seen first, and how many there are.

        Args:
            cursor: how many to leave out.
            limit: maximum number.
            camera: only those whom this camera saw.
            is_ignored: only ignored ones, or only others.
        """
        self.retain()
        where, values = "", []
        if is_ignored is not None:
            where += " AND root.is_ignored = ?"
            values.append(str(int(is_ignored)))
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
            self._connection.execute(
                "UPDATE visitors SET merged_into = ?, merged_at = "
                "(SELECT coalesce(max(merged_at), 0) + 1 FROM visitors) WHERE number = ?",
                (into, visitor),
            )
            tables.set_roots(self._connection)
            self._connection.execute(
                "DELETE FROM visitor_proposals WHERE (one, other) IN (VALUES (?, ?))",
                (min(visitor, into), max(visitor, into)),
            )
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
            self._connection.execute(
                "UPDATE visitors SET visit_count = max(1, visit_count - "
                "(SELECT visit_count FROM visitors WHERE number = ?)) WHERE number = ?",
                (number, root),
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
        rows = self._connection.execute(
            "SELECT visitor_proposals.id, similarity, a.root, b.root FROM visitor_proposals "
            "JOIN visitors AS a ON a.number = one JOIN visitors AS b ON b.number = other "
            "WHERE a.root != b.root AND NOT a.is_ignored AND NOT b.is_ignored "
            "ORDER BY similarity DESC LIMIT 100"
        ).fetchall()
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


def _tracklet(sighting: Sighting) -> Tracklet:
    return Tracklet(sighting.template, sighting.n_shots, is_poor=sighting.n_good < MIN_GOOD)
