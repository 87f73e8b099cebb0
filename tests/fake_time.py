"""A fake clock that advances only while a source waits."""

import threading


class FakeTime(threading.Event):
    """A monotonic clock, and the event on which a source waits until its next frame is due.

    A wait returns at once and advances the clock by its timeout.

    Attributes:
        now: seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a wait without end"
        self.now += max(0.0, timeout)
        return self.is_set()
