"""Which zones a face is in and has entered, steady at the outline of a zone."""

from collections.abc import Sequence

ENTER_S = 0.2
"""How long a face must be in a zone before it has entered it: a box that trembles at the outline
enters nothing. A face that comes into view in a zone is in it from its first frame on."""


class ZoneVisits:
    """The zones of one track.

    Attributes:
        current: names of the zones that it is in.
        entered: names of the zones that it has entered so far, in that order.
    """

    __slots__ = ("_since", "current", "entered")

    def __init__(self) -> None:
        self.current: tuple[str, ...] = ()
        self.entered: tuple[str, ...] = ()
        self._since: dict[str, float] | None = None

    def update(self, zones: Sequence[str], at: float) -> None:
        """Update from the zones in which the face is seen in a frame at `at`, seconds."""
        before = self._since
        if before is None:
            self._since = dict.fromkeys(zones, at - ENTER_S)
        else:
            self._since = {zone: before.get(zone, at) for zone in zones}
        self.current = tuple(
            zone for zone, since in self._since.items() if at - since >= ENTER_S - 1e-6
        )
        if self.current:
            self.entered = tuple(dict.fromkeys((*self.entered, *self.current)))
