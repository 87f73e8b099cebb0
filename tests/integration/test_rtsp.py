"""Cameras for real: GStreamer's RTSP server in another process, and MJPEG by HTTP."""

import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.cameras.av_source import AvSource
from stream.cameras.conversion import Captured
from stream.cameras.source import RtspTransport, Source, SourceSettings, open_source
from stream.errors import SourceUnavailable
from tests.fake_time import FakeTime
from tests.ports import HeldPort
from tests.rtsp_server import Auth, RtspServer, why_unavailable

pytestmark = pytest.mark.integration

PASSWORD = "p@ss:w/rd#1"


@pytest.fixture(scope="module", autouse=True)
def _gstreamer() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    with RtspServer(user="admin", password=PASSWORD) as server:
        yield server


def open_camera(url: str, transport: RtspTransport = "tcp") -> Source:
    return open_source(url, clock=time.monotonic, settings=SourceSettings(rtsp_transport=transport))


def read(source: Source, n: int) -> list[Captured]:
    return [source.read() for _ in range(n)]


def read_until_lost(source: Source) -> str:
    """Read on, and return the reason why no more came."""
    while True:
        try:
            source.read()
        except SourceUnavailable as error:
            return str(error)


def failure(url: str, transport: RtspTransport = "tcp") -> str:
    with pytest.raises(SourceUnavailable) as caught:
        open_camera(url, transport)
    message = str(caught.value)
    assert "\n" not in message
    for secret in (PASSWORD, "p%40ss", "wrong-one"):
        assert secret not in message
    return message


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_it_plays_by_either_transport(server: RtspServer, transport: RtspTransport) -> None:
    with closing(open_camera(server.url, transport)) as source:
        frames = read(source, 60)
    assert (source.size, source.fps) == ((360, 640), 25)
    assert len(frames) == 60
    assert all(a.captured_at <= b.captured_at for a, b in pairwise(frames))
    assert len({frame.image.tobytes() for frame in frames[20:]}) > 20, "the ball moves"


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_passwords_in_both_ways(auth: Auth) -> None:
    with (
        RtspServer(user="admin", password=PASSWORD, auth=auth) as server,
        closing(open_camera(server.url)) as source,
    ):
        assert source.read().image.shape == (360, 640, 3)
        wrong = server.url_for("admin", "wrong-one")
        assert failure(wrong).endswith("wrong user name or password")


def test_h265_plays() -> None:
    with RtspServer(codec="h265") as server, closing(open_camera(server.url)) as source:
        assert len(read(source, 10)) == 10


def test_a_film_goes_round_without_a_seam(tmp_path: Path) -> None:
    with (
        RtspServer(file=make_film(tmp_path / "film.mp4", n=20)) as server,
        closing(open_camera(server.url)) as source,
    ):
        frames = read(source, 70)
    levels = [float(frame.image.mean()) for frame in frames]
    rounds = sum(b < a - 20 for a, b in pairwise(levels))
    assert rounds in (3, 4)
    # No frame is missing where the film begins again.
    assert all(b - a == pytest.approx(8, abs=3) for a, b in pairwise(levels) if b > a - 20)


def make_film(path: Path, n: int) -> Path:
    """Write a film that grows brighter."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(n):
            image = np.full((240, 320, 3), 40 + 8 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rtsp://127.0.0.1:{port}/live", "it requires a user name and password"),
        ("rtsp://admin:wrong-one@127.0.0.1:{port}/live", "wrong user name or password"),
        ("rtsp://admin:p%40ss%3Aw%2Frd%231@127.0.0.1:{port}/nothing", "path not found (404)"),
        ("rtsp://admin:p%40ss%3Aw%2Frd%231@127.0.0.1:{free}/live", "connection refused"),
        ("rtsp://admin:p%40ss%3Aw%2Frd%231@no-such-host.invalid/live", "unknown host no-such-host"),
        ("http://admin:wrong-one@127.0.0.1:{free}/mjpeg", "connection refused"),
    ],
)
def test_each_failure_is_named_and_no_password_shown(
    server: RtspServer, url: str, reason: str
) -> None:
    with HeldPort() as free:
        assert reason in failure(url.format(port=server.port, free=free.port))


def test_a_password_never_stands_in_a_traceback(server: RtspServer) -> None:
    secret = "wrong" + "-one"
    with pytest.raises(SourceUnavailable) as caught:
        open_camera(server.url_for("admin", secret))
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_killed_server_is_noticed_and_its_return_seen_in_another_size() -> None:
    with RtspServer(user="admin", password=PASSWORD) as server:
        with closing(open_camera(server.url)) as source:
            read(source, 10)
            server.kill()
            reason = read_until_lost(source)
        assert "ended the stream" in reason or "closed the connection" in reason
        assert "connection refused" in failure(server.url)
        server.size = (480, 848)
        server.restart()
        with closing(open_camera(server.url)) as source:
            assert source.read().image.shape == (480, 848, 3)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_hanging_server_is_noticed(transport: RtspTransport) -> None:
    with RtspServer() as server, closing(open_camera(server.url, transport)) as source:
        read(source, 10)
        server.hang()
        reason = read_until_lost(source)
        assert "timed out" in reason
        if transport == "tcp":
            assert "timed out, no answer" in failure(server.url)
        server.go_on()
        with closing(open_camera(server.url)) as again:
            again.read()


def test_closing_from_another_thread_is_safe(server: RtspServer) -> None:
    source = open_camera(server.url)
    reasons: list[str] = []
    reader = threading.Thread(target=lambda: reasons.append(read_until_lost(source)))
    reader.start()
    source.close()
    reader.join(300)
    assert not reader.is_alive()
    assert "closed" in reasons[0]


class MjpegCamera(BaseHTTPRequestHandler):
    """Sends thirty images as a multipart answer, after asking for a password."""

    film = b""

    def do_GET(self) -> None:
        if self.path == "/page":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>no video</html>" * 20)
            return
        if self.path == "/film.mp4":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.film)))
            self.end_headers()
            self.wfile.write(self.film)
            return
        login = b64encode(b"admin:secret").decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for number in range(30):
            image = np.full((120, 160, 3), 8 * number, np.uint8)
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mjpeg() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), MjpegCamera)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_mjpeg_plays_and_its_end_is_a_loss(mjpeg: str) -> None:
    with closing(open_camera(f"http://admin:secret@{mjpeg}/mjpeg")) as source:
        frames = read(source, 15)
        assert frames[0].image.shape == (120, 160, 3)
        assert all(a.captured_at < b.captured_at for a, b in pairwise(frames))
        assert "lost the camera at 127.0.0.1: " in read_until_lost(source)


@pytest.mark.parametrize(
    ("login", "path", "reason"),
    [
        ("admin:wrong-one@", "mjpeg", "wrong user name or password"),
        ("", "mjpeg", "it requires a user name and password"),
        ("", "page", "not a video"),
    ],
)
def test_http_failures_are_named(mjpeg: str, login: str, path: str, reason: str) -> None:
    assert failure(f"http://{login}{mjpeg}/{path}").endswith(reason)


def test_a_film_on_a_web_server_plays_at_its_own_speed_and_again(
    mjpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "film.mp4", n=20).read_bytes()
    monkeypatch.setattr(MjpegCamera, "film", film)
    source = open_source(f"http://{mjpeg}/film.mp4", clock=(fake_time := FakeTime()))
    assert isinstance(source, AvSource)
    source._closing = fake_time
    with closing(source):
        frames = read(source, 50)
    steps = np.diff([frame.captured_at for frame in frames])
    np.testing.assert_allclose(steps, 0.04, atol=1e-4)
    assert frames[45].image.mean() == pytest.approx(frames[5].image.mean(), abs=3)
