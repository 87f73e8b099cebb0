"""Collects the newest frames of every camera for one inference thread."""

import threading
from collections import deque
from collections.abc import Callable

from stream.frames import Frame

WAITING = 2
"""Frames of a camera that wait at most, so that one slow tick loses none: a scan and an embedding
together take longer than a frame at 25 fps, and the ticks after them are quicker."""

RECENT_S = 0.3
"""A camera without a frame for longer is not waited for: twice the interval of the slowest useful
camera."""


class Batcher:
    """Holds the newest two frames per camera; a third replaces the oldest, counted as dropped.

    Capture threads put, one inference thread takes. With several cameras a tick waits briefly
    for the others, so that their faces share one call of each network.
    """

    def __init__(self, *, clock: Callable[[], float], max_wait_s: float = 0.008) -> None:
        """Make an empty batcher.

        Args:
            clock: seconds, monotonic.
            max_wait_s: how long the first frame of a tick waits for other cameras; a fifth of
                the frame interval at 25 fps, so that it adds little latency.
        """
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._changed = threading.Condition()
        self._frames: dict[str, deque[Frame]] = {}
        self._dropped: dict[str, int] = {}
        self._last_put: dict[str, float] = {}
        self._has_job = False

    def add(self, camera: str) -> None:
        """Accept frames of this camera from now on."""
        with self._changed:
            self._last_put.setdefault(camera, -RECENT_S)
            self._dropped.setdefault(camera, 0)

    def remove(self, camera: str) -> None:
        """Drop the camera, its waiting frames and its count of drops."""
        with self._changed:
            self._last_put.pop(camera, None)
            self._frames.pop(camera, None)
            self._dropped.pop(camera, None)

    def rename(self, camera: str, name: str) -> None:
        """Rename a camera; its waiting frames count as dropped."""
        with self._changed:
            waiting = len(self._frames.pop(camera, ()))
            if camera in self._last_put:
                self._last_put[name] = self._last_put.pop(camera)
                self._dropped[name] = self._dropped.pop(camera) + waiting

    def put(self, frame: Frame) -> None:
        """Queue a frame; frames of cameras not added are ignored."""
        with self._changed:
            if frame.camera not in self._last_put:
                return
            self._last_put[frame.camera] = self._clock()
            waiting = self._frames.setdefault(frame.camera, deque(maxlen=WAITING))
            self._dropped[frame.camera] += len(waiting) == WAITING
            waiting.append(frame)
            self._changed.notify()

    def wake(self) -> None:
        """Make the waiting or next `take` return at once, with or without frames."""
        with self._changed:
            self._has_job = True
            self._changed.notify()

    def take(self, timeout_s: float) -> list[Frame]:
        """Return a frame of every camera that has one; empty after `timeout_s` or wake."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._has_job, timeout_s)
            if self._frames and not self._has_job:
                now = self._clock()
                deadline = now + self._max_wait_s
                n_live = sum(now - at < RECENT_S for at in self._last_put.values())
                while len(self._frames) < n_live and not self._has_job:
                    remaining = deadline - self._clock()
                    if remaining <= 0 or not self._changed.wait(remaining):
                        break
            self._has_job = False
            frames = [waiting.popleft() for waiting in self._frames.values()]
            self._frames = {name: rest for name, rest in self._frames.items() if rest}
            return frames

    @property
    def n_waiting(self) -> int:
        """Number of frames that wait to be taken."""
        with self._changed:
            return sum(map(len, self._frames.values()))

    def dropped(self, camera: str) -> int:
        """Return the number of the camera's frames replaced before they were taken."""
        with self._changed:
            return self._dropped.get(camera, 0)
