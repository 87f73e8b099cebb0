"""The camera states sent over the pages' WebSockets, built once for all pages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stream.cameras.camera import CameraState, CameraStatus
from stream.cameras.registry import Cameras
from stream.front.front import Front
from stream.schemas.cameras import CameraJson, camera_json

CHECK_S = 0.1
"""How often it is looked for changes, whatever the number of pages."""

PERIOD_S = 2.0
"""How old the figures may be, seconds; changes of state come at once."""

Key = tuple[int, tuple[tuple[str, CameraState, str], ...]]


@dataclass(slots=True, eq=False)
class CameraMessage:
    """The `cameras` message of one moment; its text is built on first use.

    Attributes:
        statuses: status of every camera of this machine.
        at: time of the statuses, seconds.
        front: knows the cameras of other machines; None for none.
    """

    statuses: Sequence[CameraStatus]
    at: float
    front: Front | None = None
    _texts: dict[bool, str] = field(default_factory=dict)

    def text(self, *, is_admin: bool) -> str:
        """Return the message as JSON; without URLs for viewers."""
        if is_admin not in self._texts:
            cameras = cameras_json(self.statuses, self.front, is_admin=is_admin)
            message = {"type": "cameras", "cameras": cameras}
            self._texts[is_admin] = json.dumps(message, separators=(",", ":"))
        return self._texts[is_admin]


def cameras_json(
    statuses: Sequence[CameraStatus], front: Front | None, *, is_admin: bool
) -> list[CameraJson]:
    """Return the cameras of this machine, and behind them those of others."""
    name = "" if front is None else front.machines.name
    own = [camera_json(status, is_admin=is_admin, machine=name) for status in statuses]
    return own if front is None else own + front.machines.cameras(is_admin=is_admin)


class CameraMessages:
    """Returns the same message to every page, and a new one only after a change.

    Args:
        cameras: of the service.
        clock: seconds, monotonic.
        front: knows the cameras of other machines; None for none.
    """

    def __init__(
        self, cameras: Cameras, clock: Callable[[], float], front: Front | None = None
    ) -> None:
        self._cameras = cameras
        self._front = front
        self._clock = clock
        self._checked_at = float("-inf")
        self._key: Key | None = None
        self._message = CameraMessage((), float("-inf"))

    def current(self) -> CameraMessage:
        """Return the current message: the same object until a state or a figure changes."""
        now = self._clock()
        if now - self._checked_at >= CHECK_S:
            self._checked_at = now
            statuses = self._cameras.statuses()
            # The states of other machines' cameras are read every two seconds.
            n_meetings = 0 if self._front is None else self._front.machines.n_meetings
            key = n_meetings, tuple((each.name, each.state, each.reason) for each in statuses)
            if key != self._key or now - self._message.at >= PERIOD_S:
                self._key, self._message = key, CameraMessage(statuses, now, self._front)
        return self._message
