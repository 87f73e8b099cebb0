import multiprocessing
import pickle
import threading

import av
import numpy as np
import pytest

from stream.errors import EventLogError, UnknownTrackError
from stream.frames import Frame, FrameResult
from stream.video.encoder import TIME_BASE
from stream.video.rendition import Feed
from stream.workers.wire import Message, Outbox, SentError, packed, unpacked, without_pixels


def result(camera: str = "door", seq: int = 1) -> FrameResult:
    frame = Frame(camera, seq, 2.5, np.zeros((4, 6, 3), np.uint8), rotation=90)
    return FrameResult(frame, (), (), {"detect": 1.0}, turned_by=180)


def test_a_frame_crosses_without_its_pixels() -> None:
    sent = pickle.loads(pickle.dumps(without_pixels(result())))
    assert (sent.frame.camera, sent.frame.seq, sent.frame.captured_at) == ("door", 1, 2.5)
    assert (sent.frame.size, sent.frame.rotation, sent.turned_by) == ((4, 6), 90, 180)
    with pytest.raises(ValueError, match="in another process"):
        _ = sent.frame.image


def test_packets_cross_with_their_times_and_the_faces_of_raw_video() -> None:
    packet = av.Packet(b"some bytes")
    packet.pts, packet.is_keyframe, packet.opaque = 90_000, True, result()
    sent = pickle.loads(pickle.dumps(packed({Feed(raw=True): [packet]})))  # type: ignore[list-item]
    ((feed, (got,)),) = unpacked(sent).items()
    assert feed == Feed(raw=True)
    assert (bytes(got), got.pts, got.time_base) == (b"some bytes", 90_000, TIME_BASE)
    assert got.is_keyframe
    assert isinstance(got.opaque, FrameResult)
    assert got.opaque.frame.seq == 1


@pytest.mark.parametrize(
    "error", [UnknownTrackError("run-1"), EventLogError("the disk is full", may_pass=True)]
)
def test_an_error_crosses_as_it_is(error: Exception) -> None:
    got = pickle.loads(pickle.dumps(SentError.of(error))).error()
    assert type(got) is type(error)
    assert str(got) == str(error)
    assert vars(got) == vars(error)


def test_messages_are_sent_in_order_with_only_the_newest_faces_of_a_camera() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(max_pictures=1)
    outbox.put(Message("first"))
    assert outbox.put_picture(Message("picture"))
    assert not outbox.put_picture(Message("too many"))
    assert outbox.is_full
    outbox.put_faces(result(seq=1))
    outbox.put_faces(result(seq=2))
    outbox.put_faces(result("hall", seq=3))
    outbox.close()
    outbox.put(Message("after the end"))
    sender = threading.Thread(target=outbox.send_all, args=(ours,))
    sender.start()
    messages = theirs.recv()
    sender.join()
    assert [message.kind for message in messages] == ["first", "picture", "faces", "faces"]
    faces = [message.arguments[0].frame for message in messages[2:]]
    assert [(frame.camera, frame.seq) for frame in faces] == [("door", 2), ("hall", 3)]
    assert not outbox.is_full
