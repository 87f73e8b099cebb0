import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, NewPhoto
from recognizer import Quality
from stream.errors import EventLogError, UnknownVisitorError, VisitorError
from stream.events import recorder
from stream.events.log import EventLog
from stream.events.recorder import Journal
from stream.events.schema import FILE_NAME
from stream.events.visits import read_visits
from stream.frames import Event, EventKind, Sighting
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor
from stream.visitors.assignment import MERGE_BELOW, JoinLimits
from stream.visitors.book import VisitorBook

D = 32
LIMITS = JoinLimits(pair=0.38, per_decade=0.055, margin=0.05)
PEOPLE = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0].astype(np.float32)
START = time.time()
QUALITY = Quality(100, 30, 0, 0, 0, 1, 0.5, 0.8)
POOR_QUALITY = Quality(100, 30, 55, 0, 0, 1, 0.5, 0.02)


def like(cosine, person=0, aside=-1):
    """Return a template between two people's, of that cosine with the first."""
    vector = cosine * PEOPLE[person] + np.sqrt(1 - cosine**2) * PEOPLE[aside]
    return vector.astype(np.float32)


@contextmanager
def opened(directory, *, is_enabled=True, keep_days=30.0):
    with (
        Gallery.open(directory, model_id="m", embedding_size=D) as gallery,
        EventLog.open(directory) as log,
    ):
        log.follow(gallery)
        book = VisitorBook(
            log,
            gallery,
            limits=LIMITS,
            threshold=lambda: 0.5,
            is_enabled=is_enabled,
            keep_days=keep_days,
        )
        log.keeper = book
        yield log, book, gallery


def sighting(
    person,
    track,
    *,
    camera="door",
    n_good=8,
    n_shots=0,
    good_s=3.0,
    seconds=1.0,
    beside=(),
    is_over=True,
    quality=QUALITY,
):
    crop = np.full((112, 112, 3), 40 + person, np.uint8)
    return Sighting(
        camera=camera,
        track_id=f"run-{track}",
        stay=f"run-{track}",
        began=float(track),
        ended=float(track) + seconds,
        is_over=is_over,
        template=PEOPLE[person],
        exemplars=PEOPLE[person][np.newaxis],
        n_good=n_good,
        good_s=good_s,
        n_shots=max(n_good, n_shots),
        face_px=100.0,
        crop=crop,
        quality=quality,
        beside=frozenset(f"run-{each}" for each in beside),
    )


POOR = {"n_good": 0, "n_shots": 6, "seconds": 2.0, "quality": POOR_QUALITY}
"""A track of a face in the dark or in profile."""


def see(log, person, track, **kinds):
    """Write the event of an unknown face and its exit; None if it was not to be told."""
    shown = sighting(person, track, **kinds)
    event = Event(
        kind=EventKind.UNKNOWN,
        camera=shown.camera,
        at=float(track),
        track_id=shown.stay,
        match=None,
        first_seen=float(track),
        crop=shown.crop,
        embedding=shown.template,
        quality=QUALITY,
        sighting=shown,
    )
    left = Event(EventKind.EXIT, shown.camera, track + 1.0, shown.stay, None, track, shown.crop)
    if log.is_silent(event):
        assert log.is_silent(left)
        return None
    logged = log.append(event, time.time())
    assert not log.is_silent(left)
    log.append(left, time.time())
    return logged


def test_an_unknown_event_says_who_it_is_and_how_often_that_came(tmp_path):
    with opened(tmp_path) as (log, book, _):
        first = see(log, 0, 1)
        other = see(log, 1, 2, camera="hall")
        again = see(log, 0, 3, camera="hall")
        assert (first.visitor, first.visit_count) == ("Visitor 1", 1)
        assert (other.visitor, other.visit_count) == ("Visitor 2", 1)
        assert (again.visitor_id, again.visit_count) == (first.visitor_id, 2)
        visitors, total = book.page()
        assert total == 2
        (one,) = [each for each in visitors if each.number == 1]
        assert (one.visit_count, one.sightings, one.cameras) == (2, 2, ("door", "hall"))
        assert one.crop_id is not None
        assert len(book.seen(one.visitor_id)) == 2


def test_visitors_are_the_same_after_a_restart(tmp_path):
    with opened(tmp_path) as (log, _, _):
        before = see(log, 0, 1)
    with opened(tmp_path) as (log, _, _):
        after = see(log, 0, 2)
    assert (after.visitor_id, after.visit_count) == (before.visitor_id, 2)


def test_nothing_is_assigned_while_it_is_off(tmp_path):
    with opened(tmp_path, is_enabled=False) as (log, book, _):
        assert see(log, 0, 1).visitor_id is None
        assert book.page() == ([], 0)
        book.switch(is_enabled=True)
        assert see(log, 0, 2).visit_count == 1
    with opened(tmp_path, is_enabled=False) as (_, book, _):
        assert book.is_enabled


def test_a_short_track_becomes_a_visitor_when_it_has_grown(tmp_path):
    with opened(tmp_path) as (log, book, _):
        assert see(log, 0, 1, n_good=2).visitor_id is None
        log.keep_sighting(sighting(0, 1, n_good=3, good_s=0.5), time.time())
        ((visitor,), _) = book.page()
        assert visitor.is_provisional
        log.keep_sighting(sighting(0, 1), time.time())
        ((visitor,), _) = book.page()
        assert not visitor.is_provisional
        assert (visitor.visit_count, visitor.sightings) == (1, 1)
        (event,) = log.list(kinds=[EventKind.UNKNOWN])
        assert event.visitor_id == visitor.visitor_id


def test_a_face_without_good_shots_is_provisional_until_it_is_seen_twice(tmp_path):
    with opened(tmp_path) as (log, book, _):
        assert see(log, 0, 1, **{**POOR, "n_shots": 5}).visitor_id is None
        assert see(log, 0, 2, **{**POOR, "seconds": 1.0}).visitor_id is None
        first = see(log, 0, 3, **POOR)
        assert book.get(first.visitor_id).is_provisional
        see(log, 1, 4)
        for is_provisional in (True, False):
            visitors, total = book.page(is_provisional=is_provisional)
            assert total == 1
            assert [each.is_provisional for each in visitors] == [is_provisional]
        book.erase(visitors[0].visitor_id)
    with opened(tmp_path) as (log, book, _):
        again = see(log, 0, 4, **POOR)
        assert (again.visitor_id, again.visit_count) == (first.visitor_id, 2)
        assert not book.get(first.visitor_id).is_provisional


def test_a_brief_track_without_good_shots_joins_a_visitor_and_founds_none(tmp_path):
    brief = {**POOR, "n_shots": 4, "seconds": 1.0}
    with opened(tmp_path) as (log, book, _):
        first = see(log, 0, 1)
        again, other = see(log, 0, 2, **brief), see(log, 1, 3, **brief)
        assert (again.visitor_id, again.visit_count) == (first.visitor_id, 2)
        assert other.visitor_id is None
        assert book.page()[1] == 1
        log.keep_sighting(replace(sighting(0, 2, **brief), n_shots=5), time.time())  # grown
        assert book.get(first.visitor_id).sightings == 2
    with opened(tmp_path) as (_, book, _):
        assert book.get(first.visitor_id).visit_count == 2


@pytest.mark.parametrize("kinds", [POOR, {}])
def test_a_visitor_without_good_shots_is_joined_only_by_what_is_very_similar(
    tmp_path, monkeypatch, kinds
):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.5), like(0.6, aside=-2)]))
    with opened(tmp_path) as (log, _, _):
        first = see(log, 0, 1, **POOR)
    with opened(tmp_path) as (log, book, _):
        alike = see(log, D, 2, **kinds)
        assert alike.visitor_id != first.visitor_id
        book.erase(alike.visitor_id)
        assert see(log, D + 1, 3, **kinds).visitor_id == first.visitor_id


def test_poor_shots_change_nothing_of_a_visitor_with_good_ones(tmp_path, monkeypatch):
    others = [like(0.5), like(0.6, aside=-2), like(0.4, aside=-2)]
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, *others]))
    with opened(tmp_path) as (log, book, _):
        first = see(log, 0, 1)
        assert see(log, D, 2, **POOR).visitor_id != first.visitor_id
        log.keep_sighting(sighting(D + 1, 3, **POOR), time.time())
        assert see(log, D + 1, 4, **POOR).visitor_id == first.visitor_id
        # It grows, and stays where it is.
        log.keep_sighting(sighting(D + 1, 4, **{**POOR, "n_shots": 9}), time.time())
        assert book.get(first.visitor_id).visit_count == 2
    with opened(tmp_path) as (log, _, _):
        assert see(log, D + 2, 5).visitor_id != first.visitor_id


def test_good_shots_take_the_place_of_poor_ones(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.7)]))
    with opened(tmp_path) as (log, _, _):
        first = see(log, 0, 1, **POOR)
        assert see(log, 0, 2, **POOR).visitor_id == first.visitor_id
        assert see(log, D, 3).visitor_id == first.visitor_id
        assert see(log, D, 4).visitor_id == first.visitor_id
        assert see(log, 0, 5, **POOR).visitor_id == first.visitor_id


def test_a_track_that_is_seen_on_in_the_next_stay_is_another_visit(tmp_path):
    with opened(tmp_path) as (log, book, _):
        see(log, 0, 1)
        # Back within the cooldown: first of the stay before, of its own when that is over.
        log.keep_sighting(replace(sighting(0, 2), stay="run-1"), time.time())
        assert see(log, 0, 2).visit_count == 2
        ((visitor,), _) = book.page()
        assert (visitor.visit_count, visitor.sightings) == (2, 2)


def test_two_in_view_together_are_two_and_cannot_be_merged(tmp_path):
    with opened(tmp_path) as (log, book, _):
        one = see(log, 0, 1)
        twin = see(log, 0, 2, beside=(1,))
        assert twin.visitor_id != one.visitor_id
        with pytest.raises(VisitorError, match="in view together"):
            book.merge(one.visitor_id, twin.visitor_id)
        third = see(log, 1, 3)
        book.merge(one.visitor_id, third.visitor_id)
        with pytest.raises(VisitorError, match="in view together"):
            book.merge(third.visitor_id, twin.visitor_id)


def test_a_face_near_to_an_enrolled_person_is_no_visitor(tmp_path):
    with opened(tmp_path) as (log, book, gallery):
        gallery.photos.add("Ada", [NewPhoto(PEOPLE[0], None, "a" * 64, 0.9)])
        assert see(log, 0, 1).visitor_id is None
        assert book.page() == ([], 0)


def test_a_merge_can_be_undone(tmp_path):
    with opened(tmp_path) as (log, book, _):
        one, other = see(log, 0, 1), see(log, 1, 2)
        merged = book.merge(other.visitor_id, one.visitor_id)
        assert (merged.visit_count, merged.sightings) == (2, 2)
        assert [each.visitor_id for each in merged.merged] == [other.visitor_id]
        assert merged.merged[0].similarity is None
        assert book.get(other.visitor_id).visitor_id == one.visitor_id
        assert see(log, 1, 3).visitor_id == one.visitor_id
        shown = {event.visitor_id for event in log.list(kinds=[EventKind.UNKNOWN])}
        assert shown == {one.visitor_id}
        back = book.unmerge(one.visitor_id)
        assert [each.visitor_id for each in back] == [one.visitor_id, other.visitor_id]
        with pytest.raises(VisitorError, match="nothing was merged"):
            book.unmerge(one.visitor_id)


def test_some_sightings_are_split_off_and_stay_apart(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        see(log, 0, 2)
        wrong = book.seen(visitor_id)[0].sighting_id
        new = book.split(visitor_id, [wrong])
        assert new.visitor_id != visitor_id
        assert (new.sightings, new.visit_count, book.get(visitor_id).visit_count) == (1, 1, 1)
        with pytest.raises(VisitorError, match="told apart"):
            book.merge(new.visitor_id, visitor_id)
        with pytest.raises(VisitorError, match="leave it some"):
            book.split(visitor_id, [each.sighting_id for each in book.seen(visitor_id)])
        with pytest.raises(VisitorError, match="no sightings of"):
            book.split(visitor_id, [wrong])


def test_an_ignored_visitor_is_told_on_no_camera_until_it_is_no_more(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        assert book.ignore(visitor_id, is_ignored=True).is_ignored
        assert see(log, 0, 2, camera="hall") is None
        assert see(log, 1, 3) is not None
    with opened(tmp_path) as (log, book, _):
        log.retain(time.time() + 40 * 86_400)  # its sighting is erased, and it stays ignored
        assert see(log, 0, 4) is None
        assert book.get(visitor_id).is_ignored
        book.ignore(visitor_id, is_ignored=False)
        assert see(log, 0, 5) is not None


def test_a_merge_with_an_ignored_visitor_is_seen_and_can_be_undone(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, _):
        poster, guest = see(log, 0, 1), see(log, D, 2)
        book.ignore(poster.visitor_id, is_ignored=True)
        # Into the guest, who is announced: so are both.
        assert not book.merge(poster.visitor_id, guest.visitor_id).is_ignored
        assert see(log, 0, 3) is not None
        assert see(log, D, 4) is not None
        back, ignored = book.unmerge(guest.visitor_id)
        assert (back.is_ignored, ignored.is_ignored) == (False, True)
        assert see(log, 0, 5) is None
        # Into the poster: both are ignored, listed as such, and announced again together.
        assert book.merge(guest.visitor_id, poster.visitor_id, force=True).is_ignored
        assert [each.number for each in book.page(is_ignored=True)[0]] == [1]
        assert book.page(is_ignored=False)[1] == 0
    with opened(tmp_path) as (log, book, _):
        log.retain(time.time() + 40 * 86_400)
        assert see(log, 0, 6) is see(log, D, 7) is None
        book.unmerge(poster.visitor_id)
        guest = see(log, D, 8)
        assert guest is not None
        assert see(log, 0, 9) is None
        book.merge(guest.visitor_id, poster.visitor_id, force=True)
        book.ignore(guest.visitor_id, is_ignored=False)
        assert see(log, 0, 10) is not None
        assert see(log, D, 11) is not None


def test_the_ignored_one_of_a_merged_visitor_does_not_keep_it_for_ever(tmp_path):
    with opened(tmp_path) as (log, book, _):
        poster, guest = see(log, 0, 1), see(log, 1, 2)
        book.ignore(poster.visitor_id, is_ignored=True)
        book.merge(poster.visitor_id, guest.visitor_id)
        log.retain(time.time() + 40 * 86_400)
        assert book.page() == ([], 0)


def test_a_face_near_to_an_ignored_one_is_proposed_as_such(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, _):
        poster = see(log, 0, 1)
        book.ignore(poster.visitor_id, is_ignored=True)
        # In other light: told, as it may be somebody, and no visitor until it was seen well.
        assert see(log, D, 2, n_good=5).visitor_id is None
        other = see(log, D, 3)
        assert other.visitor == "Visitor 2"
        ((number, similarity, one, two),) = book.proposals()
        assert (one.is_ignored, two.is_ignored) == (True, False)
        assert similarity == pytest.approx(0.45, abs=0.01)
        assert book.answer(number, is_same=True).is_ignored
        assert book.page(is_ignored=False)[1] == 0
        assert see(log, D, 4) is None


def test_a_person_may_say_that_two_who_were_apart_are_one(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, _):
        one, mirrored = see(log, 0, 1), see(log, 0, 2, beside=(1,))
        with pytest.raises(VisitorError, match="in view together"):
            book.merge(mirrored.visitor_id, one.visitor_id)
        book.merge(mirrored.visitor_id, one.visitor_id, force=True)
        assert book.get(mirrored.visitor_id).number == 1
        other = see(log, D, 3)
        ((number, *_),) = book.proposals()
        assert book.answer(number, is_same=False) is None
        assert book.proposals() == []
        assert book.answer(number, is_same=None) is None
        assert [each[0] for each in book.proposals()] == [number]
        book.answer(number, is_same=False)
    with opened(tmp_path) as (log, book, _):
        assert book.merge(other.visitor_id, one.visitor_id, force=True).sightings == 3


def test_what_was_seen_since_a_merge_goes_to_the_more_similar_one_when_it_is_undone(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, _):
        one, other = see(log, 0, 1), see(log, D, 2)
        book.merge(other.visitor_id, one.visitor_id)
        for track, person in enumerate((D, 0, D), start=3):
            assert see(log, person, track).visitor == "Visitor 1"
        back, apart = book.unmerge(one.visitor_id, other.visitor_id)
        assert (back.sightings, back.visit_count) == (2, 2)
        assert (apart.sightings, apart.visit_count) == (3, 3)
        shown = [event.visitor for event in log.list(kinds=[EventKind.UNKNOWN])]
        assert shown == ["Visitor 2", "Visitor 1", "Visitor 2", "Visitor 2", "Visitor 1"]
        assert see(log, D, 6).visitor_id == other.visitor_id
        with pytest.raises(VisitorError, match="nothing was merged"):
            book.unmerge(one.visitor_id)


def test_any_merge_into_a_visitor_can_be_undone(tmp_path):
    with opened(tmp_path) as (log, book, _):
        ids = [see(log, person, 1 + person).visitor_id for person in range(3)]
        book.merge(ids[1], ids[0])
        book.merge(ids[2], ids[0])
        with pytest.raises(VisitorError, match="no visitor 0 was merged"):
            book.unmerge(ids[0], "0")
        assert [each.visitor_id for each in book.unmerge(ids[0], ids[1])] == [ids[0], ids[1]]
        assert [each.visitor_id for each in book.get(ids[0]).merged] == [ids[2]]


def test_a_visitor_is_found_by_its_name(tmp_path):
    with opened(tmp_path) as (log, book, _):
        first, second = see(log, 0, 1), see(log, 1, 2)
        (found,), total = book.page(name="visitor 2")
        assert (found.visitor_id, total) == (second.visitor_id, 1)
        assert book.page(name="Ada") == book.page(name="Visitor 3") == ([], 0)
        book.merge(second.visitor_id, first.visitor_id)
        assert book.page(name="Visitor 2")[0][0].number == 1
        assert book.page(name="Visitor 2", is_ignored=True) == ([], 0)


def test_an_ignored_visitor_is_known_from_poor_shots_too(tmp_path, monkeypatch):
    others = [like(0.5), like(0.6, aside=-2), like(0.5, person=1, aside=-3)]
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, *others]))
    with opened(tmp_path) as (log, book, _):
        book.ignore(see(log, 0, 1).visitor_id, is_ignored=True)
        assert see(log, D + 1, 2, **{**POOR, "n_shots": 3}) is None
        assert see(log, D, 3, **{**POOR, "n_shots": 3}) is not None
        assert see(log, 0, 4, **{**POOR, "n_shots": 2}) is not None
        book.ignore(see(log, 1, 5, **POOR).visitor_id, is_ignored=True)
    with opened(tmp_path) as (log, book, _):
        log.retain(time.time() + 40 * 86_400)
        assert see(log, 1, 6) is None
        assert see(log, D + 1, 7) is None
        assert see(log, D + 2, 8) is not None


def test_a_visitor_of_an_earlier_model_can_be_ignored(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        log.connection.execute("UPDATE sightings SET model_id = 'older'")
        book.forget()
        assert book.ignore(visitor_id, is_ignored=True).is_ignored


def test_a_track_that_shows_another_face_leaves_its_visitor(tmp_path):
    with opened(tmp_path) as (log, book, _):
        first = see(log, 0, 1)
        see(log, 0, 2, is_over=False)
        log.keep_sighting(sighting(1, 2), time.time())
        visitors, total = book.page()
        assert total == 2
        assert [each.sightings for each in visitors] == [1, 1]
        assert see(log, 0, 3).visitor_id == first.visitor_id
        assert see(log, 1, 4).visitor_id != first.visitor_id


def test_a_visitor_whose_only_good_track_grows_keeps_its_poor_ones(tmp_path):
    with opened(tmp_path) as (log, book, _):
        first = see(log, 0, 1, n_good=3)
        assert see(log, 0, 2, **POOR).visitor_id == first.visitor_id
        log.keep_sighting(sighting(0, 1), time.time())
        assert book.get(first.visitor_id).sightings == 2
        book.ignore(first.visitor_id, is_ignored=True)
        assert see(log, 0, 3) is None


def test_who_was_told_apart_stays_so_when_a_track_grows(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, _):
        one = see(log, 0, 1)
        other = see(log, D, 2, is_over=False)
        ((number, *_),) = book.proposals()
        book.answer(number, is_same=False)
        log.keep_sighting(replace(sighting(0, 2), stay="run-2"), time.time())
        assert book.get(other.visitor_id).visitor_id != one.visitor_id
        assert book.get(one.visitor_id).sightings == 1


def test_a_named_visitor_gives_its_past_to_the_person(tmp_path):
    with opened(tmp_path) as (log, book, gallery):
        visitor_id = see(log, 0, 1, is_over=False).visitor_id
        see(log, 1, 2)
        assert len(book.faces(visitor_id)) == 1
        ada, _ = gallery.photos.add("Ada", [NewPhoto(PEOPLE[0], None, "a" * 64, 0.9)])
        assert book.name(visitor_id, book.stays(visitor_id), ada) == [("door", "run-1")]
        assert [event.kind for event in log.list(name="Ada")] == [EventKind.EXIT, EventKind.UNKNOWN]
        assert {(each.visitor_id, each.visit_count) for each in log.list(name="Ada")} == {
            (None, None)
        }
        with pytest.raises(UnknownVisitorError):
            book.get(visitor_id)
        assert book.page()[1] == 1


def test_an_erased_visitor_leaves_nothing_behind(tmp_path):
    with opened(tmp_path) as (log, book, _):
        one, other = see(log, 0, 1), see(log, 1, 2)
        book.erase(one.visitor_id)
        assert [each.visitor_id for each in book.page()[0]] == [other.visitor_id]
        assert len(log.list()) == 2
        assert see(log, 0, 3).visit_count == 1
        assert book.erase_all() == 2
        assert log.list() == []
        assert book.page() == ([], 0)
        counts = log.connection.execute(
            "SELECT (SELECT count(*) FROM sightings), (SELECT count(*) FROM visitors)"
        ).fetchone()
        assert counts == (0, 0)


def test_what_is_nearly_alike_is_proposed_and_a_person_decides(tmp_path, monkeypatch):
    with opened(tmp_path) as (log, book, _):
        one = see(log, 0, 1)
        monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
        other = see(log, D, 2)
        ((number, similarity, *both),) = book.proposals()
        assert similarity == pytest.approx(0.45, abs=0.01)
        assert {each.visitor_id for each in both} == {one.visitor_id, other.visitor_id}
        assert book.answer(number, is_same=True).sightings == 2
        assert book.proposals() == []
        book.unmerge(one.visitor_id)
        assert book.proposals() == []
        with pytest.raises(UnknownVisitorError):
            book.answer(number, is_same=False)


def test_shots_that_are_not_good_are_enough_where_the_best_shows_the_face(tmp_path):
    with opened(tmp_path) as (log, _, _):
        first = see(log, 0, 1, n_good=0, n_shots=3)
        again = see(log, 0, 2, n_good=1, n_shots=3)
        assert (again.visitor_id, again.visit_count) == (first.visitor_id, 2)
        assert see(log, 1, 3, n_good=0, n_shots=2).visitor_id is None


def test_fragments_that_are_surely_one_are_merged_until_a_person_says_otherwise(
    tmp_path, monkeypatch
):
    near, far = like(0.75), like(0.4)
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, near, far]))
    with opened(tmp_path) as (log, book, _):
        one, other = see(log, 0, 1), see(log, D + 1, 2, is_over=False)
        assert other.visitor_id != one.visitor_id
        see(log, D + 1, 3)
        log.keep_sighting(sighting(D, 2), time.time())  # grown: it stays where it is
        log.connection.execute("DELETE FROM events WHERE track_number = 3")
        book.forget()
        log.keep_sighting(replace(sighting(D, 2), n_shots=9), time.time())
        merged = book.get(other.visitor_id)
        assert (merged.visitor_id, merged.visit_count) == (one.visitor_id, 3)
        (by_itself,) = merged.merged
        assert by_itself.visitor_id == other.visitor_id
        assert by_itself.similarity >= book.join - MERGE_BELOW
        assert datetime.fromisoformat(by_itself.at).timestamp() == pytest.approx(START, abs=3600)
        book.unmerge(one.visitor_id)
    with opened(tmp_path) as (log, book, _):
        log.keep_sighting(replace(sighting(D, 2), n_shots=10), time.time())
        assert book.get(other.visitor_id).visitor_id != one.visitor_id
        assert book.proposals() == []


def test_a_visitor_is_kept_for_its_days(tmp_path):
    with opened(tmp_path, keep_days=1.0) as (log, _, _):
        see(log, 0, 1)
        log.retain(time.time() + 80_000)
        assert read_visitors(log) == 1
        log.retain(time.time() + 90_000)  # nobody looks at the list
        assert read_visitors(log) == 0
        assert len(log.list()) == 2


@pytest.mark.parametrize("is_read", [True, False])
def test_an_expired_visitor_is_not_recognized_again(tmp_path, is_read):
    with opened(tmp_path, keep_days=1.0) as (log, book, _):
        first = see(log, 0, 1)
        see(log, 1, 2)
        if is_read:
            assert book.page()[1] == 2
        log.connection.execute("UPDATE visitors SET last_seen = last_seen - 90000 WHERE number = 1")
    with opened(tmp_path, keep_days=1.0) as (log, book, _):
        assert glimpse(log, 0, 3) == ()
        again = see(log, 0, 4)
        assert (again.visitor, again.visit_count) == ("Visitor 3", 1)
        assert again.visitor_id != first.visitor_id
        assert book.page()[1] == 2


def read_visitors(log):
    (n,) = log.connection.execute("SELECT count(*) FROM visitors").fetchone()
    return n


def test_what_is_in_memory_follows_every_change(tmp_path, monkeypatch):
    """Without reading all visitors again: of 20,000 that takes seconds."""
    monkeypatch.setitem(globals(), "PEOPLE", np.vstack([PEOPLE, like(0.45)]))
    with opened(tmp_path) as (log, book, gallery):
        monkeypatch.setattr(book, "forget", None)

        def check():
            """Compare what is in memory with what is in the file."""
            kept = book._visitors()
            book._memory = None
            read = book._visitors()
            assert sorted(kept.keys) == sorted(read.keys)
            for key in read.keys:
                assert sorted(kept.tracks(key)) == sorted(read.tracks(key))
                assert kept.apart(key) == read.apart(key)
                assert kept.is_poor(key) == read.is_poor(key)
            book._memory = kept

        ids = [see(log, person, 1 + person).visitor_id for person in range(8)]
        see(log, D, 20)
        see(log, 7, 21, **POOR)
        check()
        book.merge(ids[1], ids[0])
        check()
        see(log, 1, 22)
        book.unmerge(ids[0])
        check()
        see(log, 2, 23)
        book.split(ids[2], [book.seen(ids[2])[0].sighting_id])
        check()
        book.ignore(ids[3], is_ignored=True)
        book.merge(ids[4], ids[3])
        check()
        book.unmerge(ids[3])
        check()
        book.ignore(ids[3], is_ignored=False)
        check()
        ((proposal, *_),) = book.proposals()
        book.answer(proposal, is_same=False)
        check()
        book.answer(proposal, is_same=None)
        check()
        ada, _ = gallery.photos.add("Ada", [NewPhoto(PEOPLE[5], None, "0" * 64, 0.9)])
        book.name(ids[5], book.stays(ids[5]), ada)
        check()
        log.name_events([log.list(name=ids[6], kinds=[EventKind.UNKNOWN])[0].id], ada)
        check()
        book.erase(ids[7])
        check()
        log.connection.execute("UPDATE events SET at = 0 WHERE track_number IN (1, 22)")
        log.retain(time.time())
        check()
        log.retain(time.time() + 40 * 86_400)
        check()
        assert book.page() == ([], 0)


@pytest.mark.parametrize("is_at_commit", [False, True])
def test_a_write_that_fails_changes_no_visitor(tmp_path, is_at_commit):
    with opened(tmp_path) as (log, book, _):
        if is_at_commit:  # a row that refers to none, which only the end of a transaction refuses
            log.connection.execute(
                "CREATE TABLE late (id INTEGER REFERENCES events (id) "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
            action, what = "INSERT INTO late VALUES (-1)", "FOREIGN KEY"
        else:
            action, what = "SELECT RAISE(ABORT, 'disk I/O error')", "disk I/O error"
        log.connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON events WHEN NEW.visitor_id IS NOT NULL "
            f"BEGIN {action}; END"
        )
        with pytest.raises(Exception, match=what):
            see(log, 0, 1)
        log.connection.execute("DROP TRIGGER full")
        found = see(log, 0, 2)
        assert (found.visitor, found.visit_count) == ("Visitor 1", 1)
        assert book.page()[1] == 1


def test_an_erasure_that_fails_changes_no_visitor(tmp_path):
    with opened(tmp_path, keep_days=1.0) as (log, book, _):
        first = see(log, 0, 1)
        log.connection.execute(
            "CREATE TRIGGER full BEFORE DELETE ON visitors BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(EventLogError, match="full"):
            log.retain(time.time() + 90_000)
        log.connection.execute("DROP TRIGGER full")
        assert see(log, 0, 2).visitor_id == first.visitor_id
        assert book.get(first.visitor_id).visit_count == 2


FAR = 100_000
"""Number of a track, and its seconds after the others: the tests run for minutes."""


def glimpse(log, person, track, **kinds):
    """Write a track that ended undecided; return the events that it became."""
    shown = sighting(person, track, **{**POOR, "n_shots": 3, "seconds": 0.5, **kinds})
    return log.keep_sighting(replace(shown, is_announced=False, zones=("porch",)), START)


def test_an_undecided_track_of_a_visitor_is_an_event_of_when_it_came_and_left(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        came, left = glimpse(log, 0, FAR)
        assert (came.kind, left.kind) == (EventKind.UNKNOWN, EventKind.EXIT)
        times = [datetime.fromisoformat(event.at).timestamp() for event in (came, left)]
        assert times == pytest.approx([START + FAR, START + FAR + 0.5], abs=0.001)
        assert (came.visitor_id, came.visit_count, came.has_crop) == (visitor_id, 2, True)
        assert came.track_id == left.track_id == f"run-{FAR}"
        assert came.zones == left.zones == ("porch",)
        assert log.crop_jpeg(came.id) == log.sighting_crop(book.seen(visitor_id)[0].sighting_id)
        *_, visit = read_visits(
            log.connection,
            after=START + FAR - 50,
            before=START + FAR + 100,
            live_run="run",
            gap_s=10.0,
        )
        assert visit.visitor_id == visitor_id
        assert (visit.began, visit.ended) == (START + FAR, START + FAR + 0.5)
        visitor = book.get(visitor_id)
        assert (visitor.visit_count, visitor.sightings) == (2, 2)
        assert book.page()[1] == 1
    with opened(tmp_path) as (log, book, _):
        assert book.get(visitor_id).visit_count == 2


@pytest.mark.parametrize(
    ("person", "kinds"),
    [
        (1, {}),  # nobody who came before
        (0, {"n_shots": 2}),
        (0, {"beside": (1,)}),  # in view together with the visitor
        (2, {}),  # enrolled
        (3, {}),  # ignored
    ],
)
def test_another_undecided_track_leaves_nothing(tmp_path, person, kinds):
    with opened(tmp_path) as (log, book, gallery):
        gallery.photos.add("Ada", [NewPhoto(PEOPLE[2], None, "0" * 64, 0.9)])
        see(log, 0, 1)
        book.ignore(see(log, 3, 2).visitor_id, is_ignored=True)
        before = (log.list(), book.page())
        assert glimpse(log, person, 100, **kinds) == ()
        assert (log.list(), book.page()) == before


def test_an_undecided_track_leaves_nothing_while_visitors_are_off(tmp_path):
    with opened(tmp_path) as (log, book, _):
        see(log, 0, 1)
        book.switch(is_enabled=False)
        assert glimpse(log, 0, 100) == ()
        assert len(log.list()) == 2


@pytest.mark.parametrize(
    ("track", "is_over", "camera", "n_events"),
    [
        (10, True, "door", 0),  # a moment after the other track
        (15, True, "door", 2),
        (10, True, "hall", 2),
        (500, False, "door", 0),  # the other is still in view, reported long ago
    ],
)
def test_an_undecided_track_of_a_visitor_in_view_is_no_other_visit(
    tmp_path, track, is_over, camera, n_events
):
    with opened(tmp_path) as (log, book, _):
        shown = sighting(0, 1, is_over=is_over)
        log.append(
            Event(EventKind.UNKNOWN, "door", 1.0, "run-1", None, 1.0, shown.crop, sighting=shown),
            START + 1.0,
        )
        assert len(glimpse(log, 0, track, camera=camera)) == n_events
        (visitor,), _ = book.page()
        assert (visitor.sightings, visitor.visit_count) == (2, 2 if n_events else 1)
        assert len(log.list()) == 1 + n_events


def test_the_journal_publishes_the_events_of_an_undecided_track_once(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "RETRY_S", 0.01)
    told = []

    async def scenario(log):
        journal = Journal(
            log,
            listeners=[told.append],
            figures=Figures(),
            supervisor=Supervisor(clock=time.monotonic),
            loop=asyncio.get_running_loop(),
            clock=time.monotonic,
        )
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            undecided = sighting(0, int(time.monotonic()) + 100, **{**POOR, "n_shots": 3})
            journal.keep(replace(undecided, is_announced=False))
            async with asyncio.timeout(60):
                while not journal.trouble:
                    await asyncio.sleep(0.005)
        async with asyncio.timeout(60):
            while len(told) < 2:
                await asyncio.sleep(0.005)
        await journal.run(int)
        journal.close()

    with opened(tmp_path) as (log, _, _):
        log.connection.execute("PRAGMA busy_timeout = 10")
        see(log, 0, 1)
        asyncio.run(scenario(log))
        assert [(each.kind, each.visitor) for each in told] == [
            (EventKind.UNKNOWN, "Visitor 1"),
            (EventKind.EXIT, "Visitor 1"),
        ]
        assert len(log.list()) == 4


CHILD = """
import sys
from pathlib import Path
from tests.unit.stream.visitors.test_book import glimpse, opened, see
with opened(Path(sys.argv[1])) as (log, book, gallery):
    for track in range(1, 100_000):
        if track > 20 and track % 2:
            event, _ = glimpse(log, track % 20, 100 * track)
        else:
            event = see(log, track % 20, 100 * track)
        print(100 * track, event.visitor_id, event.visit_count, flush=True)
"""


def test_kill_9_while_assigning_loses_no_visitor(tmp_path):
    root = Path(__file__).parents[4]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    told = {}
    for line in child.stdout:
        track, visitor_id, _ = line.split()
        told[int(track)] = visitor_id
        if len(told) == 70:
            child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(told) >= 70
    assert len(set(told.values())) == 20
    with opened(tmp_path) as (log, book, _):
        rows = log.connection.execute("SELECT track_number, visitor_id FROM sightings").fetchall()
        assert dict(rows).items() >= told.items()
        visitors, total = book.page()
        assert total == 20
        assert sum(each.visit_count for each in visitors) == len(rows)
        assert see(log, 3, 99_999_999).visitor_id == told[300]
        twice = "SELECT 1 FROM events GROUP BY track_number, kind HAVING count(*) > 1"
        assert log.connection.execute(twice).fetchall() == []
        unknown = "SELECT track_number FROM events WHERE kind = 'unknown'"
        halves = (
            f"SELECT track_number FROM sightings WHERE track_number NOT IN ({unknown}) UNION ALL "
            f"{unknown} AND track_number NOT IN (SELECT track_number FROM sightings) UNION ALL "
            f"{unknown} AND quality LIKE '%0.02}}' AND track_number NOT IN "
            "(SELECT track_number FROM events WHERE kind = 'exit')"
        )
        assert log.connection.execute(halves).fetchall() == []
        assert log.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_stay_that_leaves_a_visitor_is_not_counted_any_more(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        log.keep_sighting(replace(sighting(0, 9), stay="run-1"), 0.0)  # another track of the stay
        see(log, 0, 2)
        third = see(log, 0, 3)
        assert book.get(visitor_id).visit_count == 3
        log.keep_sighting(sighting(1, 3), 0.0)  # the track shows somebody else by now
        assert (book.get(visitor_id).visit_count, book.get(visitor_id).sightings) == (2, 3)
        (other,) = [each for each in log.list() if each.id == third.id]
        assert (other.visitor, other.visit_count) == ("Visitor 2", 1)
        seen = {each.began: each.sighting_id for each in book.seen(visitor_id)}
        book.split(visitor_id, [max(seen.values())])  # of the second stay
        assert book.get(visitor_id).visit_count == 1
        book.split(visitor_id, [max(book.seen(visitor_id), key=lambda s: s.began).sighting_id])
        assert book.get(visitor_id).visit_count == 1  # a track of the first stay is left


def test_events_that_get_a_name_leave_their_visitor(tmp_path):
    with opened(tmp_path) as (log, book, gallery):
        first, second, third = (see(log, 0, number) for number in (1, 2, 3))
        ada, _ = gallery.photos.add("Ada", [NewPhoto(PEOPLE[0], None, "0" * 64, 0.9)])
        log.reconcile()
        assert log.name_events([second.id], ada) == 2
        visitor = book.get(first.visitor_id)
        assert (visitor.visit_count, visitor.sightings) == (2, 2)
        assert {e.visitor_id for e in log.list(name="Ada")} == {None}
        assert log.name_events([first.id, third.id], ada) == 4
        assert book.page() == ([], 0)


def test_the_events_of_a_visitor_are_listed_by_its_name_and_id(tmp_path):
    with opened(tmp_path) as (log, book, _):
        first, second, third = see(log, 0, 1), see(log, 1, 2), see(log, 0, 3)
        both = [(EventKind.EXIT, third.id + 1), (EventKind.UNKNOWN, third.id)]
        both += [(EventKind.EXIT, first.id + 1), (EventKind.UNKNOWN, first.id)]
        assert [(event.kind, event.id) for event in log.list(name="Visitor 1")] == both
        assert [event.id for event in log.list(name=first.visitor_id)] == [each for _, each in both]
        assert log.list(name="Visitor 9") == []
        book.merge(second.visitor_id, first.visitor_id)
        assert len(log.list(name="Visitor 2")) == len(log.list(name="Visitor 1")) == 6


def test_the_exit_of_a_visitor_says_who_left(tmp_path):
    with opened(tmp_path) as (log, book, gallery):
        first, second = see(log, 0, 1), see(log, 1, 2)

        def left():
            return [
                (event.name or event.visitor, event.visitor_id, event.visit_count)
                for event in log.list(kinds=[EventKind.EXIT])
            ]

        assert left() == [
            ("Visitor 2", second.visitor_id, None),
            ("Visitor 1", first.visitor_id, None),
        ]
        book.merge(second.visitor_id, first.visitor_id)
        assert left() == [("Visitor 1", first.visitor_id, None)] * 2
        book.unmerge(first.visitor_id)
        ada, _ = gallery.photos.add("Ada", [NewPhoto(PEOPLE[0], None, "0" * 64, 0.9)])
        book.name(first.visitor_id, book.stays(first.visitor_id), ada)
        assert left() == [("Visitor 2", second.visitor_id, None), ("Ada", None, None)]
        book.erase(second.visitor_id)
        assert left() == [("Ada", None, None)]


def test_who_is_ignored_is_known_while_in_view(tmp_path):
    with opened(tmp_path) as (log, book, _):
        visitor_id = see(log, 0, 1).visitor_id
        book.ignore(visitor_id, is_ignored=True)
        assert not log.is_ignored("run-2")
        see(log, 0, 2)
        assert log.is_ignored("run-2")


def test_a_stranger_who_enters_a_zone_is_the_visitor_of_the_stay(tmp_path):
    with opened(tmp_path) as (log, book, _):
        came = see(log, 0, 1)
        event = Event(EventKind.ZONE, "door", 1.5, "run-1", None, 1.0, None, zones=("porch",))
        entered = log.append(event, time.time())
        assert (entered.visitor_id, entered.visit_count) == (came.visitor_id, 1)
        kinds = [each.kind for each in log.list(name=came.visitor)]
        assert kinds == [EventKind.ZONE, EventKind.EXIT, EventKind.UNKNOWN]
        ((visitor,), _) = book.page()
        assert visitor.visit_count == 1
        book.erase(visitor.visitor_id)
        assert log.list() == []


def test_a_stay_that_is_split_off_takes_its_zones_along(tmp_path):
    with opened(tmp_path) as (log, book, _):
        for track in (1, 2):
            came = see(log, 0, track)
            event = Event(EventKind.ZONE, "door", 1.5, f"run-{track}", None, 1, None, zones=("in",))
            log.append(event, time.time())
        sightings = book.seen(came.visitor_id)
        other = book.split(came.visitor_id, [sightings[0].sighting_id])
        kinds = [
            [each.kind for each in log.list(name=visitor)]
            for visitor in (f"Visitor {other.number}", came.visitor)
        ]
        assert kinds == [[EventKind.ZONE, EventKind.EXIT, EventKind.UNKNOWN]] * 2


def test_whoever_was_seen_briefly_is_in_no_report(tmp_path):
    with opened(tmp_path) as (log, book, _):
        see(log, 0, 1, n_good=3, good_s=0.1)
        see(log, 1, 2)

        def doubtful():
            visits = read_visits(
                log.connection, after=START - 50, before=START + 9000, live_run="run", gap_s=1.0
            )
            return {visit.visitor: visit.is_provisional for visit in visits}

        assert doubtful() == {"Visitor 1": True, "Visitor 2": False}
        see(log, 0, 3, n_good=3, good_s=0.1)
        assert doubtful() == {"Visitor 1": False, "Visitor 2": False}
        assert not any(each.is_provisional for each in book.page()[0])
