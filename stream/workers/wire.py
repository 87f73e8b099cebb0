"""What the service and its worker processes send each other, over a pipe between the two.

Objects are pickled: both ends are the same program, started by the same user.
"""

import threading
from collections import deque
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, cast

import av

from stream.frames import Frame, FrameResult, Outline
from stream.video.encoder import TIME_BASE, VideoPacket
from stream.video.packet_hub import Picture
from stream.video.rendition import Feed

FACES_S = 0.04
"""How long faces wait for those of other cameras, seconds, unless another message is sent: those of
twelve cameras in one message take a quarter less processor time of both processes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: what it is about.
        arguments: by kind.
        number: of the call that it is, or answers; 0 if nobody waits for an answer.
    """

    kind: str
    arguments: tuple[Any, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class SentPacket:
    """A packet of video in a message.

    Attributes:
        data: its bytes.
        pts: 1/90000 s of the monotonic clock.
        is_keyframe: whether it can be decoded by itself.
        result: the frame of a raw feed's packet, without pixels; else None.
    """

    data: bytes
    pts: int | None
    is_keyframe: bool
    result: FrameResult | None

    @classmethod
    def of(cls, packet: VideoPacket) -> "SentPacket":
        """Return a packet for a message."""
        result = packet.opaque
        result = without_pixels(result) if isinstance(result, FrameResult) else None
        return cls(bytes(packet), packet.pts, packet.is_keyframe, result)

    def packet(self) -> VideoPacket:
        """Return the packet, for viewers."""
        packet = cast(VideoPacket, av.Packet(self.data))
        packet.pts = packet.dts = self.pts
        packet.time_base = TIME_BASE
        packet.is_keyframe = self.is_keyframe
        packet.opaque = self.result
        return packet


def packed(picture: Picture) -> dict[Feed, list[SentPacket]]:
    """Return the packets of one frame for a message."""
    return {feed: [SentPacket.of(each) for each in packets] for feed, packets in picture.items()}


def unpacked(picture: dict[Feed, list[SentPacket]]) -> Picture:
    """Return the packets of a message, for viewers."""
    return {feed: [each.packet() for each in packets] for feed, packets in picture.items()}


def without_pixels(result: FrameResult) -> FrameResult:
    """Return a frame's faces, without its pixels, events and sightings."""
    frame = result.frame
    outline = Frame(
        frame.camera, frame.seq, frame.captured_at, Outline(frame.size), rotation=frame.rotation
    )
    return replace(result, frame=outline, events=(), sightings=(), timings_ms={})


@dataclass(frozen=True, slots=True)
class SentError:
    """An error in a message; pickle would pass its finished text to its constructor again."""

    kind: type[Exception]
    args: tuple[Any, ...]
    fields: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> "SentError":
        """Return an error for a message."""
        return cls(type(error), error.args, dict(vars(error)))

    def error(self) -> Exception:
        """Return the error."""
        error = self.kind.__new__(self.kind, *self.args)
        error.args = self.args
        vars(error).update(self.fields)
        return error


class Outbox:
    """Messages that wait to be sent, in order, so that nobody waits for the other process.

    Thread-safe.

    Args:
        max_pictures: pictures that wait at most; `put_picture` refuses more.
    """

    def __init__(self, max_pictures: int) -> None:
        self._max_pictures = max_pictures
        self._changed = threading.Condition()
        self._messages: deque[Message] = deque()
        # Only the newest faces of a camera are worth sending.
        self._faces: dict[str, FrameResult] = {}
        self._n_pictures = 0
        self._is_closed = False

    def put(self, message: Message) -> None:
        """Queue a message; ignored once closed."""
        with self._changed:
            if not self._is_closed:
                self._messages.append(message)
                self._changed.notify()

    def put_faces(self, result: FrameResult) -> None:
        """Queue the faces of a camera's newest frame, in place of those that still wait."""
        with self._changed:
            is_first = not self._faces
            self._faces[result.frame.camera] = result
            if is_first:
                self._changed.notify()

    @property
    def is_full(self) -> bool:
        """Whether no more pictures are taken now."""
        return self._n_pictures >= self._max_pictures

    def put_picture(self, message: Message) -> bool:
        """Queue a message with packets; return whether there was room for it."""
        with self._changed:
            if self._is_closed or self._n_pictures >= self._max_pictures:
                return False
            self._n_pictures += 1
            self._messages.append(message)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Send what waits, and end `send_all`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def send_all(self, connection: Connection) -> None:
        """Send all messages until closed.

        Raises:
            OSError: if the other process has ended.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._faces or self._is_closed)
                self._changed.wait_for(lambda: self._messages or self._is_closed, FACES_S)
                messages, faces = list(self._messages), list(self._faces.values())
                self._messages.clear()
                self._faces.clear()
                self._n_pictures = 0
                if not messages and not faces:
                    return
            messages += [Message("faces", (without_pixels(each),)) for each in faces]
            connection.send(messages)
