"""Frame timing: files at their own speed, cameras at a lower rate. Pure functions of time."""

# A stalled reader (a suspended machine, a slow disk) continues from now instead of catching up.
MAX_LATE_S = 0.5

# Jumps of frame times beyond this are a cut, a loop or an error, not a pause.
MAX_STEP_S = 2.0

# Cameras jitter: a frame early by this fraction of a period still counts as due.
EARLY_PART = 0.25

# Seconds. Short at first, for a camera that only restarts; with the longest a frame arrives within
# five seconds of the camera's return.
RECONNECT_FIRST_S, RECONNECT_LONGEST_S = 0.5, 3.0

# Seconds. A shorter session is a failure even with frames: each in a row doubles the wait, up to
# half a minute, so that a camera that closes after three frames is not opened and closed twice a
# second forever.
ALIVE_S, SHORT_LONGEST_S = 10.0, 30.0

# Seconds after a wrong password. Many cameras lock an account for half an hour after five or so
# wrong passwords within some minutes.
REFUSED_RETRY_S = 30.0


class Pacer:
    """Paces the frames of a file in real time, by their timestamps.

    Args:
        period_s: seconds between frames without a usable timestamp.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._due: float | None = None
        self._pts_s: float | None = None

    def wait_s(self, pts_s: float | None, now: float) -> float:
        """Return how long the next frame has to wait.

        Args:
            pts_s: the frame's time in the file, seconds; None if it has none.
            now: seconds, monotonic clock.

        Returns:
            Seconds, 0 or more.
        """
        step_s = self._period_s
        if pts_s is not None and self._pts_s is not None and 0 < pts_s - self._pts_s <= MAX_STEP_S:
            step_s = pts_s - self._pts_s
        due = now if self._due is None else self._due + step_s
        self._due = max(due, now) if now - due > MAX_LATE_S else due
        self._pts_s = pts_s
        return max(0.0, self._due - now)


class Decimator:
    """Limits the rate of frames.

    Args:
        rate_hz: maximum of frames per second; None for no limit.
    """

    def __init__(self, rate_hz: float | None) -> None:
        if rate_hz is not None and rate_hz <= 0:
            raise ValueError(f"rate_hz must be above 0, got {rate_hz}")
        self._period_s = 0.0 if rate_hz is None else 1.0 / rate_hz
        self._next: float | None = None

    def keep(self, at: float) -> bool:
        """Return whether to keep a frame of time `at` (seconds, monotonic clock)."""
        if self._next is None or at - self._next > self._period_s:
            self._next = at
        if at < self._next - EARLY_PART * self._period_s:
            return False
        self._next += self._period_s
        return True


def reconnect_delay(attempt: int, longest_s: float = RECONNECT_LONGEST_S) -> float:
    """Return the seconds to wait before a failed camera is retried.

    Args:
        attempt: 0 after the first failure.
        longest_s: the maximum.
    """
    # 10 doublings are far above the maximum; more would only give a large number.
    return float(min(longest_s, RECONNECT_FIRST_S * 2 ** min(max(attempt, 0), 10)))


class Backoff:
    """Delays between retries of a failed camera: growing until a session has lasted a while."""

    def __init__(self) -> None:
        self._n_silent = 0
        self._n_short = 0

    def delay_s(self, alive_s: float | None) -> float:
        """Return how long to wait after a session.

        Args:
            alive_s: seconds for which it had frames; None without frames.

        Returns:
            Seconds, above 0.
        """
        if alive_s is None:
            self._n_silent += 1
            return reconnect_delay(self._n_silent - 1)
        self._n_silent = 0
        self._n_short = 0 if alive_s >= ALIVE_S else self._n_short + 1
        return reconnect_delay(max(0, self._n_short - 1), SHORT_LONGEST_S)
