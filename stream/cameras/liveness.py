"""Whether a camera is up, down or frozen. Pure functions of time, in seconds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEADY_S = 5.0
"""Seconds of frames without a loss after which a camera is steady."""

AWAY_S = 5.0
"""Seconds without frames until a camera is reported as down: a restart of its stream is none."""

MAX_STEADY_S = 300.0
"""Longest a camera that failed again and again must be steady until it is reported as up."""

FORGIVEN_S = 600.0
"""Seconds of frames after which its former failures count no more."""

SAMPLE_STEP = 16
"""Every 16th row is compared first: two frames of a camera that works differ in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Report that a camera is up or down, for an event.

    Attributes:
        is_up: whether it sends frames.
        reason: one line on why it does not; empty while it does.
    """

    is_up: bool
    reason: str = ""


class Liveness:
    """Reduces each gain and loss of a camera's frames to few reports.

    The first frame is reported at once. A loss is reported once it has lasted `AWAY_S`, or once the
    camera has been unsteady for that and `STEADY_S` together; the return once the camera has been
    steady, for twice as long after each further failure. So a camera that
    keeps failing makes two reports in five minutes at most.
    """

    def __init__(self) -> None:
        self._is_up: bool | None = None
        self._reason = ""
        self._alive_since: float | None = None
        self._unsteady_since: float | None = None
        self._wanted_s = STEADY_S

    def came(self, now: float) -> list[Report]:
        """Record that frames arrive."""
        if self._alive_since is None:
            self._alive_since = now
        if self._is_up is None:
            return [self._say(Report(True))]
        return self.check(now)

    def went(self, now: float, reason: str) -> list[Report]:
        """Record that no frames arrive, and why."""
        self._alive_since = None
        self._reason = reason
        if self._unsteady_since is None:
            self._unsteady_since = now
        return self.check(now)

    def end(self, reason: str) -> list[Report]:
        """Record that the camera is off or removed: reported at once, as is its return."""
        was_up = self._is_up
        self._is_up, self._alive_since, self._unsteady_since = None, None, None
        self._wanted_s = STEADY_S
        return [Report(False, reason)] if was_up else []

    def check(self, now: float) -> list[Report]:
        """Return the report that is due, if any; call it about twice a second."""
        alive_s = -1.0 if self._alive_since is None else now - self._alive_since
        if alive_s >= STEADY_S:
            self._unsteady_since = None
        if alive_s >= FORGIVEN_S:
            self._wanted_s = STEADY_S
        if alive_s >= self._wanted_s and not self._is_up:
            return [self._say(Report(True))]
        if self._unsteady_since is not None and self._is_up is not False:
            unsteady_s = now - self._unsteady_since
            if unsteady_s >= AWAY_S + (0.0 if alive_s < 0 else STEADY_S):
                if self._is_up:
                    self._wanted_s = min(2 * self._wanted_s, MAX_STEADY_S)
                return [self._say(Report(False, self._reason))]
        return []

    def is_forgotten(self, now: float) -> bool:
        """Return whether no report of a removed camera is pending."""
        return self._unsteady_since is not None and (
            self._is_up is not True and now - self._unsteady_since >= MAX_STEADY_S
        )

    def _say(self, report: Report) -> Report:
        self._is_up = report.is_up
        return report


class Stillness:
    """Detects a camera that repeats the same frame.

    Sensors have noise, so no two frames of a working camera are identical in every byte, even of a
    still scene.

    Args:
        frozen_after_s: seconds of identical frames; 0 for never.
    """

    def __init__(self, frozen_after_s: float) -> None:
        self.frozen_after_s = frozen_after_s
        self._last: NDArray[np.uint8] | None = None
        self._since = 0.0

    def is_frozen(self, image: NDArray[np.uint8], at: float) -> bool:
        """Return whether the frames up to this one have long been identical.

        Args:
            image: luma or RGB of the next frame, uint8; must not be changed afterwards.
            at: when it was captured, seconds.
        """
        if self.frozen_after_s <= 0:
            self._last = None
            return False
        if self._last is None or not _is_same(self._last, image):
            self._since = at
        self._last = image
        return at - self._since >= self.frozen_after_s


def _is_same(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    return (
        first.shape == second.shape
        and np.array_equal(first[::SAMPLE_STEP], second[::SAMPLE_STEP])
        and np.array_equal(first, second)
    )
