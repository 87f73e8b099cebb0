"""The machines that share a database, as JSON."""

from typing import Literal

from typing_extensions import TypedDict


class MachineJson(TypedDict):
    """One machine at one moment.

    `state` is ok, away (it has given no sign for `seen_s` seconds) or unreachable (it runs, but
    this machine cannot call it at its url); `is_this` is true of the one that answers; `cameras`
    is the number of its cameras; `problems` are those of its own /healthz.
    """

    name: str
    is_this: bool
    state: Literal["ok", "away", "unreachable"]
    seen_s: float
    version: str
    cameras: int
    problems: list[str]


class TargetsJson(TypedDict):
    """The address of one machine, as Prometheus' http_sd_configs read it."""

    targets: list[str]
    labels: dict[str, str]
