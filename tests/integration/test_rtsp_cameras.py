"""RTSP cameras that are slow, joined in the middle, or hang up, over a real connection."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from stream.cameras.source import Source, SourceSettings, open_source
from stream.errors import SourceUnavailable
from tests.rtsp_camera import RtspCamera, access_units

pytestmark = pytest.mark.integration

HASTY = SourceSettings(open_timeout_s=1.0, read_timeout_s=1.0)
PATIENCE_S = 300.0
PATIENT = SourceSettings(open_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S)


def open_camera(url: str, settings: SourceSettings = PATIENT) -> Source:
    return open_source(url, clock=time.monotonic, settings=settings)


def lost(source: Source) -> str:
    """Read to the end and return why there is no more."""
    try:
        while True:
            source.read()
    except SourceUnavailable as error:
        return str(error).partition(": ")[2]


def test_a_camera_may_take_its_time_to_describe_itself() -> None:
    was_asked, may_answer = threading.Event(), threading.Event()
    units = access_units(10, gop=5)

    def before_describe() -> None:
        was_asked.set()
        may_answer.wait(PATIENCE_S)

    with RtspCamera(units, before_describe=before_describe) as camera, ThreadPoolExecutor() as pool:
        opening = pool.submit(open_camera, camera.url)
        assert was_asked.wait(PATIENCE_S)
        # Asked later, it gives up earlier.
        with pytest.raises(SourceUnavailable, match="timed out, no answer in 1 s"):
            open_camera(camera.url, HASTY)
        may_answer.set()
        with closing(opening.result()) as source:
            assert source.read().image.shape == (96, 128, 3)


def test_a_camera_may_take_its_time_between_two_frames() -> None:
    is_paused, go_on = threading.Event(), threading.Event()
    units = access_units(10, gop=5)

    def before_unit(number: int) -> None:
        if number == 6:
            is_paused.set()
            go_on.wait(PATIENCE_S)

    def read_eight() -> None:
        with closing(open_camera(camera.url)) as source:
            for _ in range(8):
                source.read()

    with RtspCamera(units, before_unit=before_unit) as camera, ThreadPoolExecutor() as pool:
        reading = pool.submit(read_eight)
        assert is_paused.wait(PATIENCE_S)
        # Its pause begins later, and it gives up earlier.
        with closing(open_camera(camera.url, HASTY)) as source:
            assert lost(source) == "timed out, no data for over 1 s"
        go_on.set()
        reading.result()


def test_a_stream_joined_ten_seconds_before_its_keyframe_plays() -> None:
    # 250 frames of a GOP of 10 s at 25 frames a second without what is needed to decode them.
    units = access_units(300, gop=260)[10:]
    with RtspCamera(units) as camera, closing(open_camera(camera.url)) as source:
        frame = source.read()
        assert frame.image.shape == (96, 128, 3)
        assert abs(frame.image.mean() - (30 + 260 * 200 / 300)) < 15


def test_the_end_of_a_stream_is_a_loss() -> None:
    with RtspCamera(access_units(3, gop=1)) as camera, closing(open_camera(camera.url)) as source:
        assert lost(source) in ("the camera ended the stream", "the camera closed the connection")


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        ('Basic realm="cam"', "wrong user name or password"),
        ('Digest realm="cam", nonce="abc", algorithm=MD5', "wrong user name or password"),
        (
            'Digest realm="cam", nonce="abc", algorithm=SHA-256, qop="auth"',
            "SHA-256 digest authentication",
        ),
        # New Axis cameras offer both; FFmpeg takes the last.
        (
            'Digest realm="cam", nonce="abc"\r\n'
            'WWW-Authenticate: Digest realm="cam", nonce="abc", algorithm="SHA-256"',
            "SHA-256 digest authentication",
        ),
    ],
)
def test_a_refused_password_is_explained(challenge: str, reason: str) -> None:
    with RtspCamera([], challenge=challenge) as camera:
        url = camera.url.replace("//", "//admin:s3cret@")
        with pytest.raises(SourceUnavailable) as caught:
            open_camera(url)
        assert "s3cret" not in str(caught.value)
        assert caught.value.retry_after_s > 0
        assert reason in str(caught.value)
