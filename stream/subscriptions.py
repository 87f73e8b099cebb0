"""One thing told to many listeners, none of which can hold up the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAITING = 256
"""Items a listener may lag behind; a page that sleeps for longer reads the log again."""


class Subscription(Generic[T]):
    """What one listener has not heard yet; the oldest is lost first, and counted.

    Attributes:
        dropped: items lost because the listener was too slow.
    """

    def __init__(self, broadcast: "Broadcast[T]") -> None:
        self.dropped = 0
        self._broadcast = broadcast
        self._queue: asyncio.Queue[T] = asyncio.Queue(MAX_WAITING)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await self._queue.get()

    def close(self) -> None:
        """Hear no more."""
        self._broadcast.forget(self)

    def offer(self, item: T) -> None:
        """Take an item in, the oldest falling out of a full queue."""
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(item)


class Broadcast(Generic[T]):
    """Tells every subscription; belongs to one event loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[T]] = set()

    def subscribe(self) -> Subscription[T]:
        """Return a subscription to what is published from now on."""
        subscription: Subscription[T] = Subscription(self)
        self._subscriptions.add(subscription)
        return subscription

    def forget(self, subscription: Subscription[T]) -> None:
        """Tell it no more; harmless for one already forgotten."""
        self._subscriptions.discard(subscription)

    def publish(self, item: T) -> None:
        """Tell every subscription."""
        for subscription in self._subscriptions:
            subscription.offer(item)
