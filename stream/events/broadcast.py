"""Publishing of items to many subscribers, without delays by slow ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAITING = 256
"""Items that a subscriber may lag behind; a page that notices missing ones reads the log again."""


class Subscription(Generic[T]):
    """The unread items of one subscriber; the oldest is dropped first, and counted.

    Attributes:
        dropped: items dropped because the subscriber was too slow.
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
        """Unsubscribe."""
        self._broadcast.forget(self)

    def offer(self, item: T) -> None:
        """Add an item; a full queue drops its oldest."""
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(item)


class Broadcast(Generic[T]):
    """Passes each item to every subscription; for one event loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[T]] = set()

    def subscribe(self) -> Subscription[T]:
        """Return a subscription to items published from now on."""
        subscription: Subscription[T] = Subscription(self)
        self._subscriptions.add(subscription)
        return subscription

    def forget(self, subscription: Subscription[T]) -> None:
        """Remove a subscription; does nothing if already removed."""
        self._subscriptions.discard(subscription)

    def publish(self, item: T) -> None:
        """Pass an item to every subscription."""
        for subscription in self._subscriptions:
            subscription.offer(item)
