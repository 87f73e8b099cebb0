"""The [events] and [visitors] tables of the configuration."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from stream.config.section import Section
from stream.inputs import Text


class EventsConfig(Section):
    """The [events] table."""

    confirm_s: float = Field(
        0.2, ge=0, le=10, description="seconds a face must be visible before its enter event"
    )
    absence_s: float = Field(
        2.0, ge=0.1, le=600, description="seconds without the face until its exit event"
    )
    camera_away_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="seconds without frames from a camera until the people in view have left",
    )
    cooldown_s: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="seconds after an enter event in which the person gets no other",
    )
    keep_days: float = Field(30.0, gt=0, description="days after which events are erased")
    keep_mib: float = Field(1024.0, gt=0, description="maximum size of the kept events, MiB")
    search_unknown: bool = Field(
        True,
        description="whether embeddings of unknown faces are kept while visitors are off, by which "
        "a photo finds them",
    )
    visit_gap_s: float = Field(
        120.0, ge=0, le=3600, description="longest time between two stays of one visit, seconds"
    )
    time_zone: Text = Field(
        "", description="whose days reports use, such as Europe/Berlin; the system's unless set"
    )

    @field_validator("time_zone")
    @classmethod
    def _time_zone_exists(cls, name: str) -> str:
        try:
            return name and ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no known time zone, such as Europe/Berlin") from None

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone of reports; None for the system's."""
        return ZoneInfo(self.time_zone) if self.time_zone else None


class VisitorsConfig(Section):
    """The [visitors] table."""

    enabled: bool = Field(
        False, description="recognize unknown people who come again, until the page switches it"
    )
    keep_days: float = Field(
        30.0, gt=0, description="days after its last sighting in which a visitor is kept"
    )
    all_machines: bool = Field(
        False,
        description="accepted from older files and without effect: machines on one database "
        "share their visitors",
    )
