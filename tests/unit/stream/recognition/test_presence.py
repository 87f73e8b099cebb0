from collections.abc import Sequence

import numpy as np
import pytest

from gallery import Identity, Match
from stream.frames import Event, EventKind, TrackState
from stream.recognition.presence import Presence, Seen
from tests.fakes import looks_like

CONFIRM_S, ABSENCE_S, COOLDOWN_S = 0.2, 2.0, 10.0
CAMERA_AWAY_S = 30.0
STEP_S = 0.1


def seen(
    track_id: int,
    who: str | int | None,
    *,
    since: float = 0.0,
    at: float,
    name: str | None = None,
    zones: tuple[str, ...] = (),
) -> Seen:
    """A track: of the person `who`, of stranger number `who`, or undecided."""
    is_known = isinstance(who, str)
    return Seen(
        track_id=f"run-{track_id}",
        first_seen=since,
        last_seen=at,
        state=TrackState.KNOWN
        if is_known
        else TrackState.UNDECIDED
        if who is None
        else TrackState.UNKNOWN,
        match=Match(Identity(str(who), name or str(who)), 0.7) if is_known else None,
        template=looks_like(who) if isinstance(who, int) else None,
        crop=np.zeros((112, 112, 3), np.uint8),
        zones=zones,
    )


class Door:
    """A presence and the clock in front of it."""

    def __init__(self) -> None:
        self.presence = Presence(
            "door",
            confirm_s=CONFIRM_S,
            absence_s=ABSENCE_S,
            camera_away_s=CAMERA_AWAY_S,
            cooldown_s=COOLDOWN_S,
            same_face=0.4,
        )
        self.at = 0.0
        self.events: list[Event] = []

    def stand(
        self, seconds: float, *people: tuple[int, str | int | None], zones: tuple[str, ...] = ()
    ) -> list[str]:
        """Let tracks be seen for some time, after they have entered zones; return what happened.

        One line for each event.
        """
        since = self.at
        told: list[Event] = []
        for _ in range(round(seconds / STEP_S)):
            self.at = round(self.at + STEP_S, 3)
            told += self.update(
                [seen(t, who, since=since, at=self.at, zones=zones) for t, who in people]
            )
        return [line(event) for event in told]

    def update(self, tracks: Sequence[Seen]) -> list[Event]:
        events = self.presence.update(tracks, self.at)
        self.events += events
        return events


def line(event: Event) -> str:
    name = event.match.identity.name if event.match else "?"
    if event.zones:
        name += f" in {'+'.join(event.zones)}"
    if event.kind is not EventKind.RENAMED:
        return f"{event.kind} {name}"
    return f"{event.kind} {name} was {event.previous.name if event.previous else '?'}"


def test_nobody_is_no_event() -> None:
    assert Door().stand(5.0) == []


def test_a_person_enters_once_and_leaves_once() -> None:
    door = Door()
    assert door.stand(5.0, (1, "Ann")) == ["enter Ann"]
    assert door.stand(5.0) == ["exit Ann"]
    assert door.stand(30.0) == []


def test_events_say_when_where_and_who() -> None:
    door = Door()
    door.stand(1.0, (7, "Ann"))
    (event,) = door.events
    assert (event.kind, event.camera, event.track_id) == (EventKind.ENTER, "door", "run-7")
    assert event.at == pytest.approx(0.2)
    assert event.first_seen == 0.0
    assert event.crop is not None


def test_a_glimpse_is_no_entry() -> None:
    door = Door()
    assert door.stand(0.1, (1, "Ann")) == []
    assert door.stand(5.0) == []


def test_who_is_undecided_has_not_entered_yet() -> None:
    door = Door()
    assert door.stand(5.0, (1, None)) == []
    assert door.stand(5.0) == []


@pytest.mark.parametrize("absent_s", [0.1, 1.0, 1.8])
def test_a_short_absence_is_none(absent_s: float) -> None:
    door = Door()
    door.stand(3.0, (1, "Ann"))
    assert door.stand(absent_s) == []
    assert door.stand(3.0, (2, "Ann")) == [], "on a new track too"


def test_a_quick_return_enters_when_the_cooldown_has_passed() -> None:
    door = Door()
    door.stand(3.0, (1, "Ann"))
    door.stand(3.0)
    left_at = door.events[-1].at
    assert door.stand(5.0, (2, "Ann")) == []
    assert door.stand(10.0, (2, "Ann")) == ["enter Ann"]
    assert door.events[-1].at == pytest.approx(left_at + COOLDOWN_S, abs=2 * STEP_S)
    assert door.events[-1].first_seen >= left_at + COOLDOWN_S - STEP_S


def test_a_return_within_the_cooldown_is_of_the_stay_before_until_it_enters() -> None:
    door = Door()
    door.stand(3.0, (1, 7))
    assert door.presence.stay("run-1") == "run-1"
    door.stand(3.0)
    door.stand(5.0, (2, 7))
    assert door.presence.stay("run-2") == "run-1"
    assert door.stand(10.0, (2, 7)) == ["unknown ?"]
    assert door.presence.stay("run-2") == "run-2"
    assert door.presence.stay("run-1") == ""


def test_a_quick_visit_within_the_cooldown_is_told_neither_way() -> None:
    door = Door()
    door.stand(3.0, (1, "Ann"))
    door.stand(3.0)
    assert door.stand(2.0, (2, "Ann")) == []
    assert door.stand(30.0) == []
    assert door.stand(1.0, (3, "Ann")) == ["enter Ann"]


def test_two_people_are_two() -> None:
    door = Door()
    assert sorted(door.stand(3.0, (1, "Ann"), (2, "Bob"))) == ["enter Ann", "enter Bob"]
    assert door.stand(3.0, (1, "Ann")) == ["exit Bob"]


def test_one_person_on_two_tracks_is_one() -> None:
    door = Door()
    assert door.stand(3.0, (1, "Ann"), (2, "Ann")) == ["enter Ann"]
    assert door.stand(3.0, (2, "Ann")) == []


def test_an_old_track_of_a_person_who_is_seen_elsewhere_says_nothing() -> None:
    door = Door()
    door.stand(1.0, (1, "Ann"))
    door.at = 2.0
    assert door.update([seen(2, "Ann", since=1.0, at=2.0), seen(1, "Ann", at=1.0)]) == []


def test_all_events_of_a_stay_name_the_track_that_it_began_with() -> None:
    door = Door()
    door.stand(2.0, (1, 3))  # a stranger
    door.stand(2.0, (2, 3))  # lost and found again
    door.stand(2.0, (2, "Eve"))
    door.stand(2.0, (4, "Eve"))
    door.stand(3.0)
    door.stand(COOLDOWN_S + 2.0, (5, "Eve"))
    assert [(event.kind, event.track_id) for event in door.events] == [
        ("unknown", "run-1"),
        ("renamed", "run-1"),
        ("exit", "run-1"),
        ("enter", "run-5"),
    ]


def test_a_stranger_who_turns_out_to_be_somebody_who_is_there_keeps_their_stay() -> None:
    door = Door()
    door.stand(2.0, (1, "Ann"))
    door.stand(2.0, (1, "Ann"), (2, 3))
    door.stand(2.0, (1, "Ann"), (2, "Ann"))
    door.stand(3.0)
    assert [(event.kind, event.track_id) for event in door.events] == [
        ("enter", "run-1"),
        ("unknown", "run-2"),
        ("renamed", "run-2"),
        ("exit", "run-1"),
    ]


def test_a_stranger_is_told_once_whatever_their_tracks() -> None:
    door = Door()
    assert door.stand(2.0, (1, 3)) == ["unknown ?"]
    assert door.stand(1.0) == []
    assert door.stand(2.0, (2, 3)) == []
    assert door.stand(2.0, (2, 3), (3, 4)) == ["unknown ?"], "another stranger is another"
    assert door.stand(3.0) == ["exit ?", "exit ?"]


def test_a_stranger_who_is_named_is_renamed() -> None:
    door = Door()
    door.stand(2.0, (1, 3))
    assert door.stand(2.0, (1, "Eve")) == ["renamed Eve was ?"]
    assert door.stand(3.0) == ["exit Eve"]


def test_a_correction_is_an_event() -> None:
    door = Door()
    door.stand(2.0, (1, "Ann"))
    assert door.stand(1.0, (1, None)) == []
    assert door.stand(2.0, (1, "Bob")) == ["renamed Bob was Ann"]
    assert door.stand(2.0, (1, 3)) == ["renamed ? was Bob"]
    assert door.stand(3.0) == ["exit ?"]


def test_a_correction_before_the_entry_is_none() -> None:
    door = Door()
    assert door.stand(0.1, (1, "Ann")) == []
    assert door.update([seen(1, "Bob", since=0.0, at=0.1)]) == []
    assert door.stand(1.0, (1, "Bob")) == ["enter Bob"]


def test_a_correction_to_somebody_who_is_there_joins_them() -> None:
    door = Door()
    door.stand(2.0, (1, "Ann"), (2, "Bob"))
    assert door.stand(1.0, (1, "Ann"), (2, "Ann")) == ["renamed Ann was Bob"]
    assert door.stand(3.0) == ["exit Ann"]


def test_an_undecided_track_of_somebody_who_entered_keeps_them_there() -> None:
    door = Door()
    door.stand(2.0, (1, "Ann"))
    assert door.stand(5.0, (1, None)) == []


def test_a_name_changed_in_the_gallery_is_no_event() -> None:
    door = Door()
    door.stand(1.0, (1, "Ann"))
    door.at += STEP_S
    assert door.update([seen(1, "Ann", at=door.at, name="Anna")]) == []
    assert door.stand(3.0) == ["exit Anna"]


@pytest.mark.parametrize("away_s", [1.1, 4.0, 29.0])
def test_a_camera_that_is_away_is_no_absence_of_people(away_s: float) -> None:
    door = Door()
    assert door.stand(3.0, (1, "Ann"), (2, 5)) == ["enter Ann", "unknown ?"]
    for _ in range(round(away_s)):
        door.at += away_s / round(away_s)
        assert door.presence.leave(door.at) == []
    assert door.stand(3.0, (3, "Ann"), (4, 5)) == [], "on new tracks, as after every gap"


def test_who_left_while_the_camera_was_away_leaves_soon_after_its_return() -> None:
    door = Door()
    door.stand(3.0, (1, "Ann"))
    door.at += 4.0
    returned_at = door.at
    assert door.stand(3.0) == ["exit Ann"]
    assert returned_at < door.events[-1].at < returned_at + ABSENCE_S


def test_people_leave_a_camera_that_is_away_for_long_and_enter_at_once_with_it() -> None:
    door = Door()
    assert door.stand(1.0, (1, "ann")) == ["enter ann"]
    assert door.presence.leave(door.at + CAMERA_AWAY_S - 0.1) == []
    (left,) = door.presence.leave(door.at + CAMERA_AWAY_S)
    assert (left.kind, left.at) == (EventKind.EXIT, door.at + CAMERA_AWAY_S)
    assert door.presence.leave(door.at + CAMERA_AWAY_S + 0.1) == []
    door.at += CAMERA_AWAY_S + 1
    assert door.stand(1.0, (2, "ann")) == ["enter ann"], "no cooldown: they did not walk away"


def test_a_slow_camera_needs_more_frames_to_say_that_somebody_left() -> None:
    door = Door()
    since = 0.0
    told = []
    for _ in range(5):
        door.at += 4.0
        told += door.update([seen(1, "Ann", since=since, at=door.at)])
    for _ in range(3):
        door.at += 4.0
        told += door.update([])
    assert [line(event) for event in told] == ["enter Ann", "exit Ann"]


def test_at_the_end_everybody_who_had_entered_leaves_once() -> None:
    door = Door()
    door.stand(1.0, (1, "ann"), (2, 5))
    door.stand(0.1, (1, "ann"), (2, 5), (3, "bob"))
    ended = door.presence.end(door.at)
    assert [(event.kind, event.track_id) for event in ended] == [
        ("exit", "run-1"),
        ("exit", "run-2"),
    ]
    assert door.presence.end(door.at) == []


def test_events_name_the_zones_entered_so_far() -> None:
    door = Door()
    assert door.stand(1.0, (1, "Ann"), zones=("porch",)) == ["enter Ann in porch"]
    assert door.stand(1.0, (1, "Ann"), zones=("porch", "path", "gate")) == [
        "zone Ann in porch+path",
        "zone Ann in porch+path+gate",
    ]
    assert door.stand(1.0, (2, "Ann"), zones=("path",)) == [], "another track of the same stay"
    assert door.stand(3.0) == ["exit Ann in porch+path+gate"]


def test_a_zone_is_entered_once_a_stay() -> None:
    door = Door()
    assert door.stand(1.0, (1, 7)) == ["unknown ?"]
    assert door.stand(1.0, (1, 7), zones=("porch",)) == ["zone ? in porch"]
    assert door.stand(1.0, (1, 7)) == []
    assert door.stand(1.0, (2, 7), zones=("porch",)) == []
    assert door.stand(20.0) == ["exit ? in porch"]
    assert door.stand(1.0, (3, 7)) == ["unknown ?"], "the next stay"
    assert door.stand(1.0, (3, 7), zones=("porch",)) == ["zone ? in porch"]


def test_zones_of_a_return_within_the_cooldown_are_of_the_next_stay() -> None:
    door = Door()
    door.stand(1.0, (1, "Ann"), zones=("street",))
    assert door.stand(ABSENCE_S + 0.2) == ["exit Ann in street"]
    assert door.stand(1.0, (2, "Ann"), zones=("gate",)) == []
    door.stand(ABSENCE_S + 0.2)  # too brief: nobody came
    assert door.stand(1.0, (3, "Ann"), zones=("porch",)) == []
    assert door.stand(COOLDOWN_S, (4, "Ann")) == ["enter Ann in porch"]


def test_a_zone_that_is_entered_before_the_name_is_known_counts() -> None:
    door = Door()
    door.stand(1.0, (1, "Ann"))
    assert door.stand(1.0, (1, None), zones=("porch",)) == ["zone Ann in porch"]
    assert door.stand(1.0, (2, None), zones=("path",)) == []
    assert door.stand(1.0, (2, "Ann"), zones=("path",)) == ["zone Ann in porch+path"]


def test_a_renamed_track_keeps_its_zones() -> None:
    door = Door()
    assert door.stand(1.0, (1, 7), zones=("porch",)) == ["unknown ? in porch"]
    assert door.stand(1.0, (1, "Ann"), zones=("porch", "path")) == [
        "renamed Ann in porch+path was ?"
    ]
    assert door.stand(3.0) == ["exit Ann in porch+path"]
