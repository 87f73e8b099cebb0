"""The state of an SFU, for /healthz, /metrics and the page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SfuStatus:
    """State of the SFU.

    Attributes:
        kind: "janus" or "whip".
        is_there: whether it takes viewers or cameras now.
        streams: streams sent to it now.
        viewers: viewers that it serves, as far as facewire has passed on their offers.
        published: streams that it has accepted since the start of the service.
        losses: times that it was lost.
        failures: tries to reach it, or to publish a camera to it, that failed.
        dropped: packets dropped because too many waited for the network.
        trouble: the current problem in one line; empty if there is none.
    """

    kind: str
    is_there: bool
    streams: int
    viewers: int
    published: int
    losses: int
    failures: int
    dropped: int
    trouble: str
