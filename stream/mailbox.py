"""A slot that holds one item: the newest wins, and what it replaced is counted."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxClosed(Exception):  # noqa: N818 - the end of a conversation, not a failure
    """Raised by `LatestMailbox.get` once the mailbox is closed and drained."""


class LatestMailbox(Generic[T]):
    """Hands the newest item from one thread to another; never holds more than one.

    Attributes:
        dropped: items that were replaced before anybody read them.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._items: list[T] = []
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Leave `item`, replacing an unread one; does nothing after `close`."""
        with self._changed:
            if self._closed:
                return
            self.dropped += len(self._items)
            self._items = [item]
            self._changed.notify()

    def get(self, timeout_s: float) -> T | None:
        """Take the item, waiting for one.

        Args:
            timeout_s: how long to wait; 0 only looks.

        Returns:
            The newest item, or None when none came in time.

        Raises:
            MailboxClosed: if the mailbox was closed and its last item has been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if self._items:
                return self._items.pop()
            if self._closed:
                raise MailboxClosed
            return None

    def close(self) -> None:
        """Wake every reader; the last item can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
