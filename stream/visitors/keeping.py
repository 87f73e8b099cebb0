"""Which visitor each sighting shows: assigned in the transaction that stores it.

Used in the thread of the event log alone. What is in memory follows from the database: where a
transaction fails, it is read again.

Of several machines that share their visitors, one assigns. On the others sightings wait, in
`stream.events.shared_visitors`, until that one has assigned them; meanwhile each that clearly shows
a visitor counts as that visitor's.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gallery import Gallery
from stream.errors import UnknownVisitorError
from stream.events import shared_visitors
from stream.events.identity_sync import fact
from stream.events.log import EventLog
from stream.events.schema import transaction
from stream.frames import CORE_S, CORE_SHOTS, Sighting
from stream.visitors import tables
from stream.visitors.assignment import MAYBE_BELOW, MIN_SHOTS, JoinLimits, Tracklet, Visitors
from stream.visitors.tables import OF_ROOT

DAY_S = 86_400.0

ENABLED = "visitors_enabled"
"""The fact that holds the switch of the page, which precedes the configuration's."""

MIN_FACE_PX = 40
"""Side of the smallest face that is assigned: smaller ones of two people are too similar."""

POOR_SHOTS, POOR_S = 6, 1.5
"""Shots, and seconds in view, from which a poor track founds a visitor; a briefer one joins one."""

NEAR_KNOWN = 0.05
"""Cosine below the match threshold from which a face may be an enrolled person's: no stranger."""

LOAD_SHARE = 20
"""Times as long as reading all visitors takes in which they are not read again because another
machine has changed some."""

AGAIN_S = 12.0
"""Default of `again_s`: those of `absence_s` and `cooldown_s` in [events]."""


class SightingAssigner:
    """Assigns the sightings of an event log to visitors.

    Args:
        event_log: calls `keep` within its transactions; read and written only in its thread.
        gallery: whose people are no visitors.
        limits: of the model.
        threshold: returns the present match threshold, cosine.
        is_enabled: as configured; the switch of the page precedes it.
        keep_days: days after the last sighting when a visitor is erased.
        again_s: seconds after which a visitor who is not seen in a camera has left it and may
            enter again.
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
        again_s: float = AGAIN_S,
    ) -> None:
        self.keep_days = keep_days
        self._again_s = again_s
        self._connection = event_log.connection
        self._gallery = gallery
        self._limits = limits
        self._threshold = threshold
        switched = fact(self._connection, ENABLED)
        self.is_enabled = is_enabled if switched is None else switched == "1"
        self._memory: Visitors | None = None
        self._ignored: set[int] = set()
        self._due = float("-inf")  # no visitor expires before, seconds since 1970
        self._leads: Callable[[], bool] | None = None
        self._state: tuple[str | None, ...] = ()
        self._fresh_until = float("-inf")

    def share(self, leads: Callable[[], bool]) -> None:
        """Share the visitors with other machines.

        Args:
            leads: returns whether this machine assigns now.
        """
        self._leads = leads

    @property
    def may_change(self) -> bool:
        """Whether this machine assigns, and changes visitors; of several one does."""
        return self._leads is None or self._leads()

    @property
    def must_wait(self) -> bool:
        """Whether sightings wait, for another machine or for numbers of new visitors."""
        return self.is_enabled and (not self.may_change or self.lacks_number)

    @property
    def lacks_number(self) -> bool:
        """Whether no number is reserved for a new visitor, for a moment."""
        return self._leads is not None and not shared_visitors.has_number(self._connection)

    def is_ignored(self, sighting: Sighting) -> bool:
        """Return whether a track shows an ignored visitor, of whom nothing is announced or kept."""
        if not self.is_enabled:
            return False
        visitors = self._visitors()
        if sighting.n_shots < MIN_SHOTS or sighting.face_px < MIN_FACE_PX:
            return False
        if not self._is_near_ignored(_tracklet(sighting), 0.0):
            return False
        found = visitors.similar(_tracklet(sighting))
        return bool(found) and found[0][1] >= visitors.join and found[0][0] in self._ignored

    def recall(self, sighting: Sighting, offset_s: float) -> str | None:
        """Return the stay of a track that ended undecided, where it shows a visitor.

        It founds none: only who came before is recognized with so few shots.

        Args:
            sighting: the track.
            offset_s: seconds from its clock to seconds since 1970.

        Returns:
            Its own, or one of the visitor in the same camera that goes on or ended a moment ago;
            None for a face that is no visitor's, or an ignored one's.
        """
        if not self.is_enabled or not self._is_stranger(sighting):
            return None
        visitor = self._visitors().find(_tracklet(sighting), beside=self._beside(sighting))
        if visitor is None or visitor in self._ignored:
            return None
        (last_seen,) = self._one("SELECT max(last_seen) FROM visitors WHERE root = ?", visitor)
        if last_seen < time.time() - self.keep_days * DAY_S:
            return None
        run, _, _ = sighting.stay.rpartition("-")
        since, until = sighting.began - self._again_s, sighting.ended + self._again_s
        # `+run` has no index: those of the run are all, those of the visitor are few.
        row = self._connection.execute(
            f"SELECT stay FROM sightings WHERE +run = ?1 AND camera = ?2 AND began <= ?4 "
            f"AND (ended >= ?3 OR {tables.IN_VIEW}) "
            "AND visitor_id IN (SELECT visitor_id FROM visitors WHERE root = ?5) "
            "ORDER BY ended DESC LIMIT 1",
            (run, sighting.camera, since + offset_s, until + offset_s, visitor),
        ).fetchone()
        return sighting.stay if row is None else f"{run}-{row[0]}"

    def keep(self, sighting_id: int, sighting: Sighting) -> None:
        """Assign a sighting that was stored just now; in the transaction that stored it."""
        if not self.is_enabled:
            return
        if self._leads is None:
            self._assign(sighting_id, sighting)
        elif self.must_wait:
            shared_visitors.wait(self._connection, sighting_id)
            self._guess(sighting_id, sighting)
        else:
            shared_visitors.drop_guess(self._connection, sighting_id)
            self._assign(sighting_id, sighting)
            shared_visitors.assigned(self._connection, sighting_id)

    def _guess(self, sighting_id: int, sighting: Sighting) -> None:
        """Write whose sighting it seems to be, until the machine that assigns has said so."""
        held, run, stay, event_id, identity_id, name = self._one(
            "SELECT sightings.visitor_id, sightings.run, sightings.stay, events.id, "
            "events.identity_id, events.name FROM sightings "
            "JOIN events ON events.id = event_id WHERE sightings.id = ?",
            sighting_id,
        )
        if not (held is identity_id is name is None and self._is_stranger(sighting)):
            return
        visitor = self._visitors().find(_tracklet(sighting), beside=self._beside(sighting))
        row = self._connection.execute(
            "SELECT own.visitor_id, sum(each.visit_count) FROM visitors AS own "
            "JOIN visitors AS each ON each.root = own.number "
            "WHERE own.number = ? AND own.root = own.number AND NOT own.is_ignored "
            "GROUP BY own.number",
            (visitor,),
        ).fetchone()
        if row is None:
            return
        is_counted = self._connection.execute(
            "SELECT 1 FROM events WHERE run = ? AND track_number = ? "
            f"AND visitor_id IN ({OF_ROOT})",
            (run, stay, visitor),
        ).fetchone()
        count = int(row[1]) + (is_counted is None)
        shared_visitors.guess(self._connection, sighting_id, event_id, str(row[0]), count)

    def _assign(self, sighting_id: int, sighting: Sighting) -> None:
        self._expire(time.time())
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
        may_found = _may_found(sighting) and (
            _is_core(sighting) or not self._is_near_ignored(tracklet, MAYBE_BELOW)
        )
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
            self._settle(visitor)
            return
        if before is not None:
            if not may_found:
                return
            beside |= visitors.apart(before)
            visitors.drop(before)
        chosen, is_new, maybe = self._choose(
            sighting_id, tracklet, beside, run, stay, before, may_found=may_found
        )
        if chosen is None:
            return
        visitor = chosen
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
        self._settle(visitor)

    def receive(self, sighting_id: int) -> None:
        """Assign a sighting that another machine sent, in a transaction; it may be gone again."""
        if not self.is_enabled:
            return
        sighting = tables.sighting(self._connection, sighting_id, self._gallery.model_id)
        if sighting is not None:
            self.keep(sighting_id, sighting)

    def _choose(
        self,
        sighting_id: int,
        tracklet: Tracklet,
        beside: set[int],
        run: str,
        stay: int,
        before: int | None,
        *,
        may_found: bool,
    ) -> tuple[int | None, bool, tuple[tuple[int, float], ...]]:
        visitors = self._visitors()
        own = self._connection.execute(
            "SELECT DISTINCT visitor_id FROM sightings WHERE run = ? AND stay = ? AND id != ? "
            "AND visitor_id IS NOT NULL",
            (run, stay, sighting_id),
        ).fetchall()
        same_stay = {self._root(each) for (each,) in own} - beside
        nearest = visitors.similar(tracklet, beside=beside)[:1] if same_stay else []
        for visitor, similarity in nearest:
            # The place and the moment say the same as the face.
            if visitor in same_stay and similarity >= visitors.join - MAYBE_BELOW:
                visitors.add(visitor, {sighting_id: tracklet.template}, is_poor=tracklet.is_poor)
                return visitor, False, ()
        key = before if before is not None else shared_visitors.next_number(self._connection)
        assigned = visitors.assign(
            sighting_id, tracklet, beside=beside, key=key, may_found=may_found
        )
        return assigned.visitor, assigned.is_new, assigned.maybe

    def _settle(self, visitor: int) -> None:
        """Merge a visitor that has grown with what is surely the same, and propose what may be."""
        visitors = self._visitors()
        sure, maybe = visitors.alike(visitor)
        # One at a time: the others are compared with what the two have become.
        while visitor not in self._ignored and (
            same := [i for i in sure if i not in self._ignored]
        ):
            into, each = sorted((visitor, same[0]))
            similarity = visitors.average(each, into)
            visitors.merge(each, into)
            tables.merge(self._connection, each, into, similarity)
            visitor = into
            sure, maybe = visitors.alike(visitor)
        maybe += [(each, visitors.average(each, visitor)) for each in sure]  # an ignored one
        tables.propose(self._connection, visitor, dict(maybe))

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

    def named(self, event_ids: Sequence[int]) -> None:
        """Unassign the sightings of events that got a name; in the transaction that named them.

        Where another machine assigns, that one does so, once it has received the names.
        """
        if not self.may_change:
            return
        for event_id in event_ids:
            rows = self._connection.execute(
                "SELECT sightings.id, sightings.visitor_id FROM sightings "
                "JOIN events ON events.id = sightings.event_id "
                "WHERE sightings.visitor_id IS NOT NULL AND events.name IS NOT NULL "
                "AND (sightings.run, sightings.stay) = "
                "(SELECT run, track_number FROM events WHERE id = ?)",
                (event_id,),
            ).fetchall()
            for sighting_id, visitor_id in rows:
                self._unassign(int(sighting_id), self._root(visitor_id))

    def _unassign(self, sighting_id: int, visitor: int) -> None:
        self._visitors().drop_track(visitor, sighting_id)
        for stay in tables.uncount(self._connection, visitor, [sighting_id]):
            self._connection.execute(
                "UPDATE events SET visitor_id = NULL, visit_count = NULL "
                f"WHERE run = ? AND track_number = ? AND visitor_id IN ({OF_ROOT})",
                (*stay, visitor),
            )
        self._connection.execute(
            "UPDATE sightings SET visitor_id = NULL WHERE id = ?", (sighting_id,)
        )
        self._drop_empty(visitor)
        if visitor not in self._visitors():
            self._refresh(visitor)  # it may have templates that were not kept in memory

    def _expire(self, wall_now: float) -> int:
        """Delete visitors that were not seen for `keep_days`; in a transaction.

        Ignored ones stay. It takes microseconds while none can be due. Of several machines, the
        one that assigns does so.

        Returns:
            How many.
        """
        if wall_now < self._due or not self.may_change:
            return 0
        kept_s = self.keep_days * DAY_S
        rows = self._connection.execute(
            "SELECT root, max(last_seen) FROM visitors GROUP BY root "
            "HAVING NOT max(is_ignored AND number = root)"
        ).fetchall()
        expired = [int(root) for root, last in rows if last < wall_now - kept_s]
        self._remove_all(expired)
        left = [float(last) for _, last in rows if last >= wall_now - kept_s]
        self._due = min(left, default=wall_now) + kept_s
        return len(expired)

    def _remove_all(self, roots: Sequence[int]) -> None:
        """Delete visitors and what refers to them, not their sightings and events."""
        for root in roots:
            for change in ("events SET visit_count = NULL,", "sightings SET"):
                self._connection.execute(
                    f"UPDATE {change} visitor_id = NULL WHERE visitor_id IN ({OF_ROOT})", (root,)
                )
            self._connection.execute("DELETE FROM visitors WHERE root = ?", (root,))
        self._refresh(*roots)

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
        (is_ignored,) = self._one("SELECT is_ignored FROM visitors WHERE number = ?", visitor)
        if not is_ignored:
            self._connection.execute("DELETE FROM visitors WHERE root = ?", (visitor,))

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
                "SELECT root FROM sightings JOIN visitors USING (visitor_id) "
                "WHERE run = ? AND track_number = ?",
                (run, int(number)),
            ).fetchone()
            if row is not None:
                found.add(int(row[0]))
        return found

    def _is_near_ignored(self, tracklet: Tracklet, below: float) -> bool:
        """Return whether a track is like an ignored visitor, by so much below the threshold."""
        visitors = self._visitors()
        return any(
            visitor in visitors and visitors.likeness(visitor, tracklet) >= visitors.join - below
            for visitor in self._ignored
        )

    def _is_stranger(self, sighting: Sighting) -> bool:
        if sighting.n_shots < MIN_SHOTS or sighting.face_px < MIN_FACE_PX:
            return False
        found = self._gallery.ranked(sighting.template[np.newaxis], 1)
        if not found.is_whole:
            return False
        (nearest,) = found.matches
        return not nearest or nearest[0].similarity < self._threshold() - NEAR_KNOWN

    # In memory

    def _visitors(self) -> Visitors:
        if self._memory is not None and self._leads is not None:
            self._follow()
        if self._memory is None:
            began = time.monotonic()
            state = () if self._leads is None else shared_visitors.state(self._connection)
            memory = Visitors(self._limits, self._gallery.embedding_size)
            model_id, size = self._gallery.model_id, self._gallery.embedding_size
            for is_poor in (False, True):  # the good ones first, beside which no other is kept
                for number, own in tables.templates(
                    self._connection, model_id, size, is_poor=is_poor
                ).items():
                    memory.add(number, own, is_poor=is_poor)
            for one, other in tables.apart(self._connection):
                memory.keep_apart(one, other)
            rows = self._connection.execute(
                "SELECT number FROM visitors WHERE is_ignored AND root = number"
            )
            self._ignored = {int(number) for (number,) in rows.fetchall()}
            self._memory, self._state = memory, state
            self._fresh_until = began + LOAD_SHARE * (time.monotonic() - began)
        return self._memory

    def _refresh(self, *roots: int) -> None:
        """Read some visitors again that were changed, merged or erased; the others stay."""
        memory = self._memory
        if memory is None:
            return
        model_id, size = self._gallery.model_id, self._gallery.embedding_size
        for root in roots:
            memory.drop(root)
            for is_poor in (False, True):
                for number, own in tables.templates(
                    self._connection, model_id, size, is_poor=is_poor, root=root
                ).items():
                    memory.add(number, own, is_poor=is_poor)
            self._ignored.discard(root)
            if self._connection.execute(
                "SELECT 1 FROM visitors WHERE number = ?1 AND root = ?1 AND is_ignored", (root,)
            ).fetchone():
                self._ignored.add(root)
        for root in roots:
            for one, other in tables.apart(self._connection, root):
                memory.keep_apart(one, other)

    def erased(self) -> None:
        """Let go of sightings that were erased, by whomever."""
        if self._memory is None:
            return
        rows = self._connection.execute("SELECT id FROM sightings WHERE visitor_id IS NOT NULL")
        kept = {int(number) for (number,) in rows}
        self._refresh(
            *[
                visitor
                for visitor in self._memory.keys
                # those that an ignored visitor keeps have negative numbers
                if any(each >= 0 and each not in kept for each in self._memory.tracks(visitor))
            ]
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Run one transaction; where it is undone, all visitors are read again."""
        try:
            with transaction(self._connection):
                yield
        except BaseException:
            self.forget()
            raise

    def _follow(self) -> None:
        """Read the visitors again if others changed some: at once where this machine assigns."""
        if not self.may_change and time.monotonic() < self._fresh_until:
            return
        if shared_visitors.state(self._connection) != self._state:
            self.forget()

    def forget(self) -> None:
        """Read all visitors again at the next use: a transaction was undone."""
        self._memory = None
        self._due = float("-inf")

    def _root(self, visitor_id: str) -> int:
        row = self._connection.execute(
            "SELECT root FROM visitors WHERE visitor_id = ?", (visitor_id,)
        ).fetchone()
        if row is None:
            raise UnknownVisitorError(visitor_id)
        return int(row[0])

    def _one(self, statement: str, *values: object) -> tuple[Any, ...]:
        row = self._connection.execute(statement, values).fetchone()
        return tuple(row)


def _tracklet(sighting: Sighting) -> Tracklet:
    return Tracklet(sighting.template, sighting.n_shots, is_poor=sighting.is_poor)


def _is_core(sighting: Sighting) -> bool:
    """Return whether a track alone establishes a visitor; see `stream.events.sightings.CORE`."""
    return sighting.n_good >= CORE_SHOTS and sighting.good_s >= CORE_S


def _may_found(sighting: Sighting) -> bool:
    """Return whether a track alone is evidence of a visitor."""
    seconds = sighting.ended - sighting.began
    return not sighting.is_poor or (sighting.n_shots >= POOR_SHOTS and seconds >= POOR_S)
