"""Whether a rule applies to an event: pure functions of the rule, the event and its time."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from stream.config.rules import (
    ANYBODY,
    FIRST_TIME,
    GROUP,
    KNOWN,
    RETURNING,
    SPAN,
    UNKNOWN,
    RuleConfig,
    Weekday,
    is_negative,
    positive,
)
from stream.events.log import LoggedEvent
from stream.frames import EventKind

DAYS: Sequence[Weekday] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CAMERA_KINDS = frozenset({EventKind.CAMERA_UP, EventKind.CAMERA_DOWN})
HOUR_S = 3600.0
MAX_KEYS = 1000
"""Persons and cameras whose last notification is kept for each rule."""

Groups = Mapping[str, Sequence[str]]


def matches(rule: RuleConfig, event: LoggedEvent, *, groups: Groups, zone: tzinfo | None) -> bool:
    """Return whether a rule applies to an event, without its limits.

    A track that is renamed, such as a stranger whose face is recognized later, counts as one that
    enters. So does a person who enters one of the rule's zones; `Limits` lets a rule fire once for
    each stay then. Events of cameras concern nobody, so `who` does not apply to them, and are in no
    zone.

    Args:
        rule: the rule.
        event: the event.
        groups: names or ids of people by the name of their group.
        zone: time zone of the rule's hours; None for the system's.
    """
    kind = event.kind
    if kind is EventKind.RENAMED:
        kind = EventKind.ENTER
    elif kind is EventKind.ZONE:
        kind = EventKind.UNKNOWN if event.name is None else EventKind.ENTER
    return (
        (kind in rule.kinds or event.kind in rule.kinds)
        and (not rule.cameras or event.camera in rule.cameras)
        and is_in_zones(rule.zones, event)
        and (event.kind in CAMERA_KINDS or concerns(rule.who, event, groups))
        and is_within(rule.hours, rule.days, local_time(event, zone))
    )


def is_in_zones(zones: Sequence[str], event: LoggedEvent) -> bool:
    """Return whether an event is in one of a rule's zones; of a ZONE event, the one entered.

    Args:
        zones: of the rule; empty for the whole frame, which nobody enters later.
        event: the event.
    """
    if event.kind is EventKind.ZONE:
        return event.zones[-1] in zones
    return not zones or any(zone in zones for zone in event.zones)


def concerns(who: Sequence[str], event: LoggedEvent, groups: Groups) -> bool:
    """Return whether the face of an event is among `who`: in an entry, and in no negative one.

    Without positive entries, anybody is.
    """
    wanted = [entry for entry in who if not is_negative(entry)] or [ANYBODY]
    excluded = [positive(entry) for entry in who if is_negative(entry)]
    return any(_is(entry, event, groups) for entry in wanted) and not any(
        _is(entry, event, groups) for entry in excluded
    )


def _is(entry: str, event: LoggedEvent, groups: Groups) -> bool:
    is_known = event.name is not None
    match entry:
        case "*":
            return True
        case _ if entry == KNOWN:
            return is_known
        case _ if entry == UNKNOWN:
            return not is_known
        case _ if entry == FIRST_TIME:
            return not is_known and event.visit_count == 1
        case _ if entry == RETURNING:
            return not is_known and (event.visit_count or 0) > 1
    if entry.startswith(GROUP):
        return any(_is_person(each, event) for each in groups.get(entry.removeprefix(GROUP), ()))
    return _is_person(entry, event)


def _is_person(who: str, event: LoggedEvent) -> bool:
    if event.name is None:
        return event.visitor is not None and who in (event.visitor, event.visitor_id)
    return who == event.identity_id or who.casefold() == event.name.casefold()


def local_time(event: LoggedEvent, zone: tzinfo | None) -> datetime:
    """Return the time of an event in a time zone; None for the system's."""
    return datetime.fromisoformat(event.at).astimezone(zone)


def is_within(hours: str, days: Sequence[Weekday], local: datetime) -> bool:
    """Return whether a local time is within a span of hours that begins on one of some days.

    A span across midnight belongs to the day on which it begins. The clock on the wall decides: an
    hour that is skipped in spring is missing, one that is repeated in autumn counts twice.

    Args:
        hours: such as "22:00-06:00"; empty for any time.
        days: "mon" to "sun"; empty for every day.
        local: the time.
    """
    today, minute = local.date(), local.hour * 60 + local.minute
    if hours:
        span = SPAN.fullmatch(hours)
        assert span is not None  # the configuration was checked
        begin, end = _minute(span["begin"]), _minute(span["end"])
        if begin < end:
            is_inside = begin <= minute < end
        else:
            is_inside = minute >= begin or minute < end
            if minute < end:
                today -= timedelta(days=1)
        if not is_inside:
            return False
    return not days or DAYS[today.weekday()] in days


def _minute(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


class Limits:
    """Cooldown and maximum per hour of one rule; times are those of the events.

    Args:
        cooldown_s: seconds without another notification of the same person and camera; those that
            leave have a cooldown of their own.
        max_per_hour: notifications in any hour.

    A stay that was notified is not again because of another zone that the person enters.

    Attributes:
        n_in_cooldown, n_over_limit: events that were not notified because of either.
    """

    def __init__(self, *, cooldown_s: float, max_per_hour: int) -> None:
        self.n_in_cooldown = self.n_over_limit = 0
        self._cooldown_s, self._max_per_hour = cooldown_s, max_per_hour
        self._last: dict[tuple[str, str, bool], float] = {}
        self._recent: deque[float] = deque()
        self._stays: deque[str | None] = deque(maxlen=MAX_KEYS)

    def allows(self, event: LoggedEvent) -> bool:
        """Return whether an event may be notified, and count it where a limit forbids it."""
        if event.kind is EventKind.ZONE and event.track_id in self._stays:
            return False
        at = _seconds(event)
        last = self._last.get(_key(event))
        # A clock that was set back does not silence a rule until it has caught up.
        if last is not None and 0 <= at - last < self._cooldown_s:
            self.n_in_cooldown += 1
            return False
        if sum(0 <= at - each < HOUR_S for each in self._recent) >= self._max_per_hour:
            self.n_over_limit += 1
            return False
        return True

    def add(self, event: LoggedEvent) -> None:
        """Record that an event is notified."""
        at, key = _seconds(event), _key(event)
        self._last.pop(key, None)
        self._last[key] = at
        if len(self._last) > MAX_KEYS:
            del self._last[next(iter(self._last))]
        if event.kind not in CAMERA_KINDS and event.kind is not EventKind.EXIT:
            self._stays.append(event.track_id)
        self._recent.append(at)
        if len(self._recent) > self._max_per_hour:
            self._recent.popleft()


def _seconds(event: LoggedEvent) -> float:
    return datetime.fromisoformat(event.at).timestamp()


def _key(event: LoggedEvent) -> tuple[str, str, bool]:
    if event.kind in CAMERA_KINDS:
        who = event.kind.value
    else:
        who = event.identity_id or event.name or event.visitor_id or ""
    return who, event.camera, event.kind is EventKind.EXIT
