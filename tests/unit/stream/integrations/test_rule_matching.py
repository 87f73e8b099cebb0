"""Which events a rule applies to: people, hours over the change of the clocks, limits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream.config import RuleConfig
from stream.events.log import LoggedEvent
from stream.frames import EventKind
from stream.integrations.rules.matching import Limits, concerns, is_within, local_time, matches

BERLIN = ZoneInfo("Europe/Berlin")

ADA = LoggedEvent(
    id=7,
    kind=EventKind.ENTER,
    camera="door",
    at="2026-11-24T10:00:00.000Z",
    track_id="run-3",
    name="Ada",
    identity_id="a1",
    similarity=0.71,
    has_crop=True,
    previous_name=None,
    detail="",
)
STRANGER = replace(
    ADA, kind=EventKind.UNKNOWN, name=None, identity_id=None, similarity=None, track_id="run-4"
)
FIRST = replace(STRANGER, visitor_id="v1", visitor="Visitor 1", visit_count=1)
AGAIN = replace(FIRST, visit_count=3)
DOWN = replace(STRANGER, kind=EventKind.CAMERA_DOWN, track_id=None, has_crop=False)

GROUPS = {"family": ("Ada", "b2"), "empty": ()}


def rule(**settings: object) -> RuleConfig:
    return RuleConfig.model_validate(
        {"name": "r", "cooldown_s": 0, "then": [{"type": "push"}], **settings}
    )


def at(event: LoggedEvent, seconds: float) -> LoggedEvent:
    moment = datetime(2026, 11, 24, 10, tzinfo=UTC) + timedelta(seconds=seconds)
    return replace(event, at=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


@pytest.mark.parametrize(
    ("who", "event", "is_meant"),
    [
        ((), ADA, True),
        (("*",), STRANGER, True),
        (("known",), ADA, True),
        (("known",), FIRST, False),
        (("unknown",), ADA, False),
        (("unknown",), AGAIN, True),
        (("Ada",), ADA, True),
        (("ada",), ADA, True),
        (("a1",), ADA, True),
        (("A1",), ADA, False),
        (("Ad",), ADA, False),
        (("Bob", "Ada"), ADA, True),
        (("@family",), ADA, True),
        (("@family",), replace(ADA, name="Bob", identity_id="b2"), True),
        (("@empty",), ADA, False),
        (("@family",), STRANGER, False),
        (("!William",), ADA, True),
        (("!William",), STRANGER, True),
        (("!Ada",), ADA, False),
        (("not Ada",), ADA, False),
        (("*", "!@family"), ADA, False),
        (("known", "!Ada"), ADA, False),
        (("known", "!Ada"), STRANGER, False),
        (("first-time visitor",), FIRST, True),
        (("first-time visitor",), AGAIN, False),
        (("first-time visitor",), STRANGER, False),
        (("returning visitor",), AGAIN, True),
        (("returning visitor",), FIRST, False),
        (("Visitor 1",), AGAIN, True),
        (("v1",), AGAIN, True),
        (("!v1", "unknown"), AGAIN, False),
    ],
)
def test_who_is_meant(who: tuple[str, ...], event: LoggedEvent, is_meant: bool) -> None:
    assert concerns(who, event, GROUPS) is is_meant


def test_cameras_and_kinds_are_chosen() -> None:
    def applies(event: LoggedEvent, **settings: object) -> bool:
        return matches(rule(**settings), event, groups={}, zone=UTC)

    assert applies(ADA)
    assert applies(STRANGER)
    assert not applies(replace(ADA, kind=EventKind.EXIT))
    assert applies(replace(ADA, kind=EventKind.EXIT), kinds=["exit"])
    assert not applies(DOWN)
    assert applies(DOWN, kinds=["camera_down"], who=["Ada"]), "cameras concern nobody"
    assert not applies(ADA, cameras=["yard"])
    assert applies(ADA, cameras=["yard", "door"])
    # A stranger who is recognized a moment later has come.
    assert applies(replace(ADA, kind=EventKind.RENAMED), who=["Ada"], kinds=["enter"])
    assert not applies(replace(ADA, kind=EventKind.RENAMED), kinds=["unknown"])


@pytest.mark.parametrize(
    ("hours", "days", "local", "is_inside"),
    [
        ("", (), "2026-11-24T03:00", True),
        ("", ("tue",), "2026-11-24T03:00", True),
        ("", ("mon",), "2026-11-24T03:00", False),
        ("08:00-17:00", (), "2026-11-24T08:00", True),
        ("08:00-17:00", (), "2026-11-24T16:59", True),
        ("08:00-17:00", (), "2026-11-24T17:00", False),
        ("08:00-24:00", (), "2026-11-24T23:59", True),
        ("22:00-06:00", (), "2026-11-24T22:00", True),
        ("22:00-06:00", (), "2026-11-24T05:59", True),
        ("22:00-06:00", (), "2026-11-24T06:00", False),
        ("22:00-06:00", (), "2026-11-24T21:59", False),
        # The night of Friday ends on Saturday.
        ("22:00-06:00", ("fri",), "2026-11-27T23:00", True),
        ("22:00-06:00", ("fri",), "2026-11-28T05:00", True),
        ("22:00-06:00", ("fri",), "2026-11-27T05:00", False),
        ("22:00-06:00", ("fri",), "2026-11-28T23:00", False),
        ("22:00-00:00", ("fri",), "2026-11-27T23:59", True),
        ("22:00-00:00", ("fri",), "2026-11-28T00:00", False),
    ],
)
def test_hours_and_days(hours: str, days: tuple, local: str, is_inside: bool) -> None:
    assert is_within(hours, days, datetime.fromisoformat(local)) is is_inside


@pytest.mark.parametrize(
    ("utc", "is_inside"),
    [
        # 29 March 2026: the clocks go from 02:00 to 03:00 at 01:00 UTC.
        ("2026-03-29T00:59:00.000Z", False),  # 01:59
        ("2026-03-29T01:00:00.000Z", False),  # 03:00: the hour is skipped
        # 25 October 2026: from 03:00 back to 02:00 at 01:00 UTC.
        ("2026-10-24T23:59:00.000Z", False),  # 01:59
        ("2026-10-25T00:00:00.000Z", True),  # 02:00
        ("2026-10-25T00:59:00.000Z", True),  # 02:59
        ("2026-10-25T01:00:00.000Z", True),  # 02:00 again
        ("2026-10-25T01:59:00.000Z", True),  # 02:59 again
        ("2026-10-25T02:00:00.000Z", False),  # 03:00
        # The same UTC is another hour in winter and in summer.
        ("2026-07-01T00:30:00.000Z", True),  # 02:30
        ("2026-01-01T01:30:00.000Z", True),  # 02:30
        ("2026-01-01T00:30:00.000Z", False),  # 01:30
    ],
)
def test_the_change_of_the_clocks(utc: str, is_inside: bool) -> None:
    local = local_time(replace(ADA, at=utc), BERLIN)
    assert is_within("02:00-03:00", (), local) is is_inside


def test_a_night_with_the_change_belongs_to_the_evening_before() -> None:
    for utc in ("2026-03-29T03:30:00.000Z", "2026-10-25T04:30:00.000Z"):  # 05:30 on a Sunday
        local = local_time(replace(ADA, at=utc), BERLIN)
        assert is_within("22:00-06:00", ("sat",), local)
        assert not is_within("22:00-06:00", ("sun",), local)


def test_a_cooldown_is_of_a_person_and_camera() -> None:
    limits = Limits(cooldown_s=60, max_per_hour=100)

    def notifies(event: LoggedEvent) -> bool:
        if is_allowed := limits.allows(event):
            limits.add(event)
        return is_allowed

    assert notifies(ADA)
    assert not notifies(at(ADA, 59))
    assert notifies(at(ADA, 60))
    assert notifies(at(replace(ADA, identity_id="b2"), 60))
    assert notifies(at(replace(ADA, camera="yard"), 60))
    assert notifies(at(STRANGER, 60))
    assert not notifies(at(replace(STRANGER, track_id="run-9"), 61)), "strangers are one"
    assert notifies(at(FIRST, 61)), "but visitors are not"
    assert notifies(at(ADA, -3600)), "a clock that was set back silences nobody"
    assert limits.n_in_cooldown == 2


def test_who_leaves_has_a_cooldown_of_its_own() -> None:
    limits = Limits(cooldown_s=60, max_per_hour=100)
    left = replace(ADA, kind=EventKind.EXIT)
    limits.add(ADA)
    assert limits.allows(at(left, 5)), "the visit was shorter than the cooldown"
    limits.add(at(left, 5))
    assert not limits.allows(at(left, 6))
    assert not limits.allows(at(replace(ADA, kind=EventKind.RENAMED), 6)), (
        "counts as one that enters"
    )
    assert limits.allows(at(ADA, 60))


def test_so_many_an_hour() -> None:
    limits = Limits(cooldown_s=0, max_per_hour=3)
    for second in (0, 10, 20):
        assert limits.allows(at(ADA, second))
        limits.add(at(ADA, second))
    assert not limits.allows(at(ADA, 30))
    assert not limits.allows(at(ADA, 3599))
    assert limits.allows(at(ADA, 3600)), "the first one is an hour old"
    limits.add(at(ADA, 3600))
    assert not limits.allows(at(ADA, 3601))
    assert limits.n_over_limit == 3


PORCH = replace(ADA, zones=("porch",))
ENTERED = replace(ADA, kind=EventKind.ZONE, zones=("street", "porch"))


@pytest.mark.parametrize(
    ("settings", "event", "is_meant"),
    [
        ({}, PORCH, True),
        ({}, ENTERED, False),  # the rule fired when Ada came
        ({"zones": ["porch"]}, ADA, False),
        ({"zones": ["porch"]}, PORCH, True),
        ({"zones": ["porch"]}, ENTERED, True),
        ({"zones": ["porch"], "kinds": ["unknown"]}, ENTERED, False),
        ({"zones": ["porch"], "kinds": ["unknown"]}, replace(ENTERED, name=None), True),
        ({"zones": ["porch"], "kinds": ["exit"]}, ENTERED, False),
        ({"zones": ["porch"], "kinds": ["exit"]}, replace(PORCH, kind=EventKind.EXIT), True),
        ({"zones": ["porch"]}, replace(PORCH, kind=EventKind.RENAMED), True),
        ({"zones": ["porch"], "cameras": ["yard"]}, ENTERED, False),
        ({"zones": ["street"]}, ENTERED, False),  # it was entered before
        ({"zones": ["street", "porch"]}, ENTERED, True),  # the limits let it fire once a stay
        ({"zones": ["gate", "porch"]}, ENTERED, True),
        ({"zones": ["porch"], "who": ["first-time visitor"]}, ENTERED, False),
        (
            {"zones": ["porch"], "who": ["first-time visitor"]},
            replace(FIRST, kind=EventKind.ZONE, zones=("porch",)),
            True,
        ),
        ({"zones": ["porch"], "kinds": ["camera_down"]}, DOWN, False),
    ],
)
def test_a_rule_of_zones_fires_when_one_is_entered(
    settings: dict[str, object], event: LoggedEvent, is_meant: bool
) -> None:
    assert matches(rule(**settings), event, groups=GROUPS, zone=UTC) is is_meant


def test_a_stay_is_notified_once_however_many_zones_are_entered() -> None:
    limits = Limits(cooldown_s=60, max_per_hour=10)
    limits.add(at(ADA, 0))
    assert not limits.allows(at(ENTERED, 600))
    assert limits.n_in_cooldown == 0, "it is no limit of the rule"
    # the next stay began within the cooldown, which was all that kept it from being notified
    later = replace(ENTERED, track_id="run-9")
    assert limits.allows(at(later, 600))
    limits.add(at(later, 600))
    assert not limits.allows(at(later, 1200))
    assert limits.allows(at(replace(ADA, track_id="run-9"), 1200)), "such as a name found later"


def test_an_entry_into_a_zone_has_the_cooldown_of_other_entries() -> None:
    limits = Limits(cooldown_s=60, max_per_hour=10)
    limits.add(at(ADA, 0))
    assert not limits.allows(at(replace(ENTERED, track_id="run-9"), 30))
    assert limits.allows(at(replace(ENTERED, track_id="run-9"), 61))
