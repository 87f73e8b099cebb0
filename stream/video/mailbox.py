"""A bounded queue of the newest items; replaced ones are counted as dropped."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxClosed(Exception):  # noqa: N818 - an end, not a failure
    """Raised by `LatestMailbox.get` once the mailbox is closed and drained."""


class LatestMailbox(Generic[T]):
    """Passes the newest items from one thread to another; holds at most `size`.

    Args:
        size: 1 if only the newest matters; more if a short delay of the reader must not drop
            items.

    Attributes:
        dropped: items that were replaced before they were read.
    """

    def __init__(self, size: int = 1) -> None:
        self.dropped = 0
        self._size = size
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Put an item, replacing the oldest unread one if full; ignored after `close`."""
        with self._changed:
            if self._closed:
                return
            self._items.append(item)
            while len(self._items) > self._size:
                self._items.popleft()
                self.dropped += 1
            self._changed.notify()

    def get(self, timeout_s: float) -> T | None:
        """Take the oldest item, waiting for one.

        Args:
            timeout_s: how long to wait; 0 does not wait.

        Returns:
            The oldest item, or None if there was none in time.

        Raises:
            MailboxClosed: if the mailbox was closed and its last item has been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if self._items:
                return self._items.popleft()
            if self._closed:
                raise MailboxClosed
            return None

    def close(self) -> None:
        """Wake every reader; the last item can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
