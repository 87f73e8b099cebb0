"""Distributes the packets of one camera to its viewers."""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from stream.video.encoder import VideoPacket
from stream.video.link_quality import shared_part
from stream.video.rendition import Feed

# About a second at 25 fps. A viewer that is further behind continues from a keyframe.
MAX_QUEUED_PACKETS = 25

# Seconds between keyframes made on request. One viewer's losses must not reduce the
# quality of all others; more than three per second would make no visible difference.
MIN_KEYFRAME_GAP_S = 0.3

# Deliveries that wait for the event loop; two seconds of frames.
MAX_PENDING_DELIVERIES = 50


class HubClosed(Exception):  # noqa: N818 - an end, not a failure
    """Raised by `Subscription.recv` when the camera was removed or the viewer left."""


class KeyframeRequests:
    """Keeps a request for a keyframe until one was made, and spaces them out.

    A request that comes too soon is deferred, never dropped: dropped requests left new viewers
    without video until the next regular keyframe.

    Attributes:
        is_wanted: requested and not yet made.
    """

    def __init__(self, min_gap_s: float = MIN_KEYFRAME_GAP_S) -> None:
        self._min_gap_s = min_gap_s
        self.is_wanted = False
        self._made_at: float | None = None

    def request(self) -> None:
        """Request a keyframe."""
        self.is_wanted = True

    def is_due(self, now: float) -> bool:
        """Whether the next frame should be a keyframe; stays so until one was made."""
        waited = self._made_at is None or now - self._made_at >= self._min_gap_s
        return self.is_wanted and waited

    def made(self, now: float) -> None:
        """Note that a keyframe was made, on request or not."""
        self.is_wanted = False
        self._made_at = now


class Subscription:
    """One viewer's packets: bounded, and always decodable from the first to the last.

    Nothing is queued before the first `recv`, since a connection takes time to establish.

    Attributes:
        feed: the form of its video.
        share: the fraction of the full rendition's bits that its link carries, in (0, 1].
        dropped: packets dropped because the viewer was behind.
    """

    def __init__(self, hub: "PacketHub", feed: Feed) -> None:
        self.feed = feed
        self.share = 1.0
        self.dropped = 0
        self._hub = hub
        self._coming: Feed | None = None
        self._packets: deque[VideoPacket] = deque()
        self._needs_keyframe = True
        self._has_begun = False
        self._is_closed = False
        self._arrived = asyncio.Event()

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds to encode for it: its own, and the one it is changing to."""
        coming = self._coming
        return (self.feed,) if coming is None else (self.feed, coming)

    async def recv(self) -> VideoPacket:
        """Wait for the next packet.

        Raises:
            HubClosed: if the hub or this subscription was closed.
        """
        self._hub._activate(self)
        while not self._packets:
            if self._is_closed:
                raise HubClosed
            self._arrived.clear()
            await self._arrived.wait()
        return self._packets.popleft()

    def request_keyframe(self) -> None:
        """Request a keyframe, because this viewer has lost packets."""
        self._hub.request_keyframe(self.feed)

    def change(self, *, small: bool) -> None:
        """Change to another rendition at its next keyframe."""
        target = replace(self.feed, small=small)
        if target == self.feed:
            self._coming = None
        elif target != self._coming:
            self._coming = target
            self._hub.request_keyframe(target)

    def close(self) -> None:
        """Unsubscribe; may be called more than once."""
        self._hub._leave(self)
        self._is_closed = True
        self._packets.clear()
        self._arrived.set()

    def _take(self, picture: "Picture") -> None:
        """Queue one frame's packets of the own feed."""
        coming = self._coming
        if coming is not None and any(each.is_keyframe for each in picture.get(coming, ())):
            self.feed, self._coming = coming, None
        for packet in picture.get(self.feed, ()):
            self._push(packet)

    def _push(self, packet: VideoPacket) -> None:
        if len(self._packets) >= MAX_QUEUED_PACKETS:
            self.dropped += len(self._packets)
            self._packets.clear()
            self._needs_keyframe = True
        if self._needs_keyframe and not packet.is_keyframe:
            # Packets before its first keyframe are not counted as dropped.
            self.dropped += self._has_begun
            self._hub.request_keyframe(self.feed)
            return
        self._needs_keyframe = False
        self._has_begun = True
        self._packets.append(packet)
        self._arrived.set()


Picture: TypeAlias = Mapping[Feed, Sequence[VideoPacket]]
"""The packets of one frame, of every feed that is watched."""


class PacketHub:
    """Passes a camera's packets from the encoder's thread to every viewer.

    `publish`, `feeds`, `part`, `wants_keyframe`, `request_keyframe` and `n_viewers` may be used
    from any thread; the rest belongs to the event loop.

    Attributes:
        n_beyond: viewers that an SFU serves, less the streams that it gets.
        changed: called after a change of what is watched, from any thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.n_beyond = 0
        self.changed: Callable[[], None] = _nothing
        self._clock = clock
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: set[Subscription] = set()
        self._viewers: tuple[Subscription, ...] = ()
        self._requests: defaultdict[Feed, KeyframeRequests] = defaultdict(KeyframeRequests)
        self._broken: set[Feed] = set()
        self._n_pending = 0
        self._n_dropped = 0
        self._is_closed = False

    @property
    def n_viewers(self) -> int:
        """Number of viewers that are connected and watching."""
        return len(self._viewers)

    @property
    def n_watching(self) -> int:
        """Number of viewers, with those that an SFU serves from one of them."""
        return max(0, self.n_viewers + self.n_beyond)

    @property
    def is_closed(self) -> bool:
        """Whether the camera was removed."""
        return self._is_closed

    @property
    def dropped(self) -> int:
        """Packets dropped so far because viewers, or the event loop, were behind."""
        return self._n_dropped + sum(viewer.dropped for viewer in list(self._subscriptions))

    def feeds(self) -> tuple[Feed, ...]:
        """Return the feeds that are watched or about to be, without duplicates."""
        return tuple(dict.fromkeys(feed for viewer in self._viewers for feed in viewer.feeds))

    def part(self, feed: Feed) -> float:
        """Return the fraction of the usual bitrate to send to a feed's viewers, in (0, 1]."""
        shares = [viewer.share for viewer in self._viewers if viewer.feed == feed]
        return shared_part(shares, small=feed.small)

    def subscribe(self, feed: Feed = Feed()) -> Subscription:  # noqa: B008 - it is frozen
        """Add a viewer; it counts as one from its first `recv`.

        Raises:
            HubClosed: if the camera was removed.
        """
        if self._is_closed:
            raise HubClosed
        self._loop = asyncio.get_running_loop()
        subscription = Subscription(self, feed)
        self._subscriptions.add(subscription)
        return subscription

    def request_keyframe(self, feed: Feed) -> None:
        """Request a keyframe."""
        with self._lock:
            self._requests[feed].request()
        self.changed()

    def wants_keyframe(self, feed: Feed) -> bool:
        """Whether the next frame should be a keyframe."""
        with self._lock:
            return self._requests[feed].is_due(self._clock())

    def requested(self) -> frozenset[Feed]:
        """Return the feeds for which a keyframe was requested and not yet made."""
        with self._lock:
            return frozenset(
                feed for feed, requests in self._requests.items() if requests.is_wanted
            )

    def publish(self, picture: Picture) -> None:
        """Deliver one frame, in every feed at once; never waits."""
        loop = self._loop
        if loop is None or self._is_closed or not any(picture.values()):
            return
        sound = self._sound(picture, is_stuck=self._n_pending >= MAX_PENDING_DELIVERIES)
        if not sound:
            return
        with self._lock:
            self._n_pending += 1
        try:
            loop.call_soon_threadsafe(self._deliver, sound)
        except RuntimeError:
            # The loop ended before the hub was closed: there are no viewers.
            self._is_closed = True

    def close(self) -> None:
        """End every subscription; may be called more than once."""
        self._is_closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def _sound(self, picture: Picture, *, is_stuck: bool) -> Picture:
        """Return the feeds of a frame that can be decoded; none while deliveries are stuck."""
        with self._lock:
            return {
                feed: tuple(packets)
                for feed, packets in picture.items()
                if packets and self._is_sound(feed, packets, is_stuck)
            }

    def _is_sound(self, feed: Feed, packets: Sequence[VideoPacket], is_stuck: bool) -> bool:
        """Record a feed's keyframes and gaps; return whether these packets can still be decoded."""
        if any(packet.is_keyframe for packet in packets):
            self._requests[feed].made(self._clock())
            self._broken.discard(feed)
        if is_stuck:
            self._broken.add(feed)
        if feed in self._broken:
            # The event loop was blocked, and the following packets are useless without a keyframe.
            self._n_dropped += len(packets)
            self._requests[feed].request()
            return False
        return True

    def _deliver(self, picture: Picture) -> None:
        with self._lock:
            self._n_pending -= 1
        for viewer in self._viewers:
            viewer._take(picture)

    def _activate(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions or subscription in self._viewers:
            return
        self._viewers = (*self._viewers, subscription)
        self.request_keyframe(subscription.feed)

    def _leave(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.discard(subscription)
        self._n_dropped += subscription.dropped
        self._viewers = tuple(viewer for viewer in self._viewers if viewer is not subscription)
        self.changed()


def _nothing() -> None:
    """Tell nobody: the video is encoded in this process."""
