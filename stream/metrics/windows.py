"""Rates and percentiles over a sliding window."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median and 95th percentile of a window; zeros while it is empty."""

    p50: float
    p95: float
    n: int


class Window:
    """The last values of one quantity in milliseconds; one thread adds, any thread reads."""

    def __init__(
        self, size: int = 1500, *, observe: Callable[[float], None] = lambda seconds: None
    ) -> None:
        """Make an empty window.

        Args:
            size: values to keep; the default is a minute at 25 fps.
            observe: also called with every value, in seconds, such as a histogram's `observe`.
        """
        self._values: deque[float] = deque(maxlen=size)
        self._observe = observe

    def add(self, value: float) -> None:
        """Add a value; the oldest is dropped."""
        self._values.append(value)
        self._observe(value / 1e3)

    def clear(self) -> None:
        """Drop all values."""
        self._values.clear()

    def percentiles(self) -> Percentiles:
        """Return the median and 95th percentile of the window."""
        values = list(self._values)
        if not values:
            return Percentiles(0.0, 0.0, 0)
        p50, p95 = np.percentile(values, (50, 95))
        return Percentiles(float(p50), float(p95), len(values))


class Rate:
    """Events per second over the last seconds."""

    def __init__(self, span_s: float = 2.0) -> None:
        """Average over `span_s` seconds."""
        self._span_s = span_s
        self._times: deque[float] = deque(maxlen=1000)

    def tick(self, now: float) -> None:
        """Count one event at `now` (seconds, monotonic)."""
        self._times.append(now)

    def per_s(self, now: float) -> float:
        """Return the rate in Hz as of `now`."""
        recent = [t for t in list(self._times) if now - t <= self._span_s]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)
