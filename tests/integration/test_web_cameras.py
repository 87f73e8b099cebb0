"""HTTP cameras as they are, to the byte: MJPEG of small boards, snapshots, passwords, and worse."""

import gzip
import hashlib
import io
import resource
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stream.cameras.conversion import Captured
from stream.cameras.image_splitter import MAX_IMAGE
from stream.cameras.source import Source, SourceSettings, open_source
from stream.cameras.web_source import WebSource
from stream.errors import SourceUnavailable
from tests.fake_time import FakeTime
from tests.web_camera import Asked, WebCamera, drip, jpeg, ok

pytestmark = pytest.mark.integration

PATIENCE_S = 300.0
PATIENT = SourceSettings(open_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S)
HASTY = SourceSettings(open_timeout_s=1.0, read_timeout_s=1.0)


def open_camera(url: str, settings: SourceSettings = PATIENT) -> Source:
    return open_source(url, clock=time.monotonic, settings=settings)


def open_in_fake_time(url: str, target_fps: float | None = None) -> WebSource:
    """Open a camera whose waits take no time."""
    fake_time, settings = FakeTime(), SourceSettings(target_fps=target_fps)
    source = open_source(url, clock=fake_time, settings=settings)
    assert isinstance(source, WebSource)
    source._closing = fake_time
    return source


def steps(frames: list[Captured]) -> list[float]:
    """Seconds from each frame to the next."""
    return [after.captured_at - before.captured_at for before, after in pairwise(frames)]


def read(source: Source, n: int) -> list[Captured]:
    return [source.read() for _ in range(n)]


def levels(frames: list[Captured]) -> list[int]:
    """Which of the test's JPEGs each frame shows."""
    return [round((float(frame.image.mean()) - 40) / 20) for frame in frames]


def failure(url: str, settings: SourceSettings = PATIENT) -> str:
    """Why a camera cannot be opened or read."""

    def read_all() -> None:
        with closing(open_camera(url, settings)) as source:
            while True:
                source.read()

    with pytest.raises(SourceUnavailable) as caught:
        read_all()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def part(number: int, head: bytes = b"", boundary: bytes = b"--frame") -> bytes:
    return boundary + b"\r\n" + head + b"\r\n" + jpeg(number) + b"\r\n"


TYPED = b"Content-Type: image/jpeg\r\n"
MJPEG: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "as the book says": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, TYPED + b"Content-Length: %d\r\n" % len(jpeg(n))),
    ),
    # ESP32-CAM's CameraWebServer and Tasmota: the boundary stands after each part.
    "no boundary before the first part": (
        "multipart/x-mixed-replace;boundary=frame",
        lambda n: TYPED + b"\r\n" + jpeg(n) + b"\r\n--frame\r\n",
    ),
    "another boundary than announced": (
        "multipart/x-mixed-replace; boundary=--frame",
        lambda n: part(n, TYPED, b"--other"),
    ),
    "no boundary announced": ("multipart/x-mixed-replace", lambda n: part(n, TYPED)),
    "image/jpg": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, b"Content-Type: image/jpg\r\n"),
    ),
    "parts without a head": ("multipart/x-mixed-replace; boundary=frame", lambda n: part(n)),
    "a length that is too small": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, TYPED + b"Content-Length: 17\r\n"),
    ),
    "a length that is too large": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, TYPED + b"Content-Length: 2147483647\r\n"),
    ),
    "line feeds alone": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, TYPED).replace(b"\r\n", b"\n", 2),
    ),
    "images one after the other": ("video/x-motion-jpeg", jpeg),
    "no type at all": ("", lambda n: part(n, TYPED)),
    "a wrong type": ("text/plain", lambda n: part(n, TYPED)),
    "called an image": ("image/jpeg", lambda n: part(n, TYPED)),
    "without end markers": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: b"--frame\r\n" + TYPED + b"\r\n" + jpeg(n)[:-2] + b"\r\n",
    ),
    "with another text between": (
        "multipart/x-mixed-replace; boundary=frame",
        lambda n: part(n, TYPED) + b"--frame\r\nContent-Type: text/plain\r\n\r\nalarm=0\r\n",
    ),
}


@pytest.mark.parametrize("kind", MJPEG)
def test_mjpeg_as_small_cameras_send_it(kind: str) -> None:
    content_type, make = MJPEG[kind]
    body = b"".join(make(number) for number in range(9))
    with WebCamera(lambda asked, number: ok(content_type, body)) as camera:
        with closing(open_camera(camera.url("/stream"))) as source:
            frames = read(source, 8)
        assert levels(frames) == list(range(8))
        assert source.damaged == 0
        assert len(camera.asked) == 1


def test_mjpeg_in_pieces_of_any_size_and_its_end_is_a_loss() -> None:
    stop = threading.Event()

    def answer(asked: Asked, number: int, connection: socket) -> None:
        connection.sendall(ok("multipart/x-mixed-replace; boundary=frame"))
        drip(connection, part(0, TYPED)[:150], stop)
        connection.sendall(part(0, TYPED)[150:] + part(1, TYPED))

    with WebCamera(answer) as camera, closing(open_camera(camera.url())) as source:
        assert levels(read(source, 2)) == [0, 1]
        with pytest.raises(
            SourceUnavailable, match=r"lost the camera at 127\.0\.0\.1: the camera ended the stream"
        ):
            source.read()


def test_a_damaged_image_costs_that_image_alone() -> None:
    good, bad = part(1, TYPED), b"--frame\r\n\r\n\xff\xd8\xff" + b"junk" * 100 + b"\xff\xd9\r\n"
    cut = jpeg(3)[:200]
    body = good + bad + part(2, TYPED) + cut + b"".join(part(n, TYPED) for n in (4, 5, 6, 7))
    with (
        WebCamera(lambda asked, number: ok("multipart/x-mixed-replace", body)) as camera,
        closing(open_camera(camera.url())) as source,
    ):
        shown = levels(read(source, 5))
    # What is cut off within its head takes the next one along.
    assert shown[:2] == [1, 2]
    assert shown[-2:] == [6, 7] or shown[-2:] == [5, 6]


def test_an_endless_part_is_given_up_and_costs_little_memory() -> None:
    sent = [0]

    def answer(asked: Asked, number: int, connection: socket) -> None:
        connection.sendall(ok("multipart/x-mixed-replace; boundary=frame"))
        connection.sendall(b"--frame\r\nContent-Length: 2147483647\r\n\r\n" + jpeg()[:-2])
        while True:
            connection.sendall(bytes(1 << 20))
            sent[0] += 1 << 20

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with WebCamera(answer) as camera:
        reason = failure(camera.url())
    assert reason.endswith(f"no image ends within {MAX_IMAGE >> 20} MiB")
    assert sent[0] < 2 * MAX_IMAGE
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 4 * MAX_IMAGE // 1024


def test_an_image_of_huge_size_is_refused_before_it_is_decoded() -> None:
    huge = bytearray(jpeg())
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    with WebCamera(lambda asked, number: ok("image/jpeg", bytes(huge), length=True)) as camera:
        assert "larger than 67 megapixels" in failure(camera.url())


# Snapshots


def test_snapshots_are_fetched_when_they_are_due_and_over_one_connection() -> None:
    with WebCamera(
        lambda asked, number: ok("image/jpeg", jpeg(number), length=True), keeps=True
    ) as camera:
        with closing(open_in_fake_time(camera.url("/snap.jpg"), 20.0)) as source:
            frames = read(source, 10)
            assert len(camera.asked) == 10
            np.testing.assert_allclose(steps(frames), 1 / 20)
            source.set_target_fps(5.0)
            np.testing.assert_allclose(steps(read(source, 4)), 1 / 5)
        assert levels(frames) == list(range(10))
        assert camera.n_connections == 1


def test_without_a_rate_five_snapshots_a_second_are_fetched_at_most() -> None:
    with WebCamera(lambda asked, number: ok("image/jpeg", jpeg(number), length=True)) as camera:
        with closing(open_in_fake_time(camera.url("/snap.jpg"))) as source:
            frames = read(source, 6)
        np.testing.assert_allclose(steps(frames), 1 / 5)
        assert len(camera.asked) == 6


def encoded(format_: str) -> bytes:
    image = Image.fromarray(np.full((48, 64, 3), (200, 30, 30), np.uint8))
    out = io.BytesIO()
    image.save(out, format_)
    return out.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
@pytest.mark.parametrize("with_length", [True, False])
def test_snapshots_of_any_kind(format_: str, with_length: bool) -> None:
    body = encoded(format_)
    with (
        WebCamera(lambda *_: ok(f"image/{format_.lower()}", body, length=with_length)) as camera,
        closing(open_camera(camera.url())) as source,
    ):
        for frame in read(source, 2):
            np.testing.assert_allclose(frame.image[20, 20], (200, 30, 30), atol=8)


def test_a_compressed_snapshot() -> None:
    body = gzip.compress(jpeg(3))
    answer = ok("image/jpeg", body, length=True, more="Content-Encoding: gzip")
    with (
        WebCamera(lambda asked, number: answer) as camera,
        closing(open_camera(camera.url())) as source,
    ):
        assert levels(read(source, 2)) == [3, 3]


@pytest.mark.parametrize("wrong", [999, -2])
def test_a_snapshot_with_a_wrong_length(wrong: int) -> None:
    length = len(jpeg(4)) + wrong
    head = f"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
    with (
        WebCamera(lambda asked, number: head.encode() + jpeg(4)) as camera,
        closing(open_camera(camera.url())) as source,
    ):
        assert levels(read(source, 2)) == [4, 4]


def test_pixels_that_are_not_square_by_the_images_own_word_or_by_setting() -> None:
    wide = bytearray(jpeg())
    at = wide.index(b"JFIF\x00") + 7
    wide[at : at + 5] = b"\x00\x00\x02\x00\x01"
    with WebCamera(lambda asked, number: ok("image/jpeg", bytes(wide), length=True)) as camera:
        with closing(open_camera(camera.url())) as source:
            assert source.read().image.shape == (48, 128, 3)
        settings = SourceSettings(pixel_aspect=Fraction(1, 2))
        with closing(open_camera(camera.url(), settings)) as source:
            assert source.read().image.shape == (96, 64, 3)


# Passwords


def digest_header(asked: Asked, algorithm: str, password: str) -> bool:
    """Check a digest answer by RFC 7616 section 3.4.1."""
    fields = dict(
        each.strip().split("=", 1) for each in asked.headers["authorization"][7:].split(", ")
    )
    value = {key: text.strip('"') for key, text in fields.items()}

    def h(text: str) -> str:
        return hashlib.new("sha256" if "256" in algorithm else "md5", text.encode()).hexdigest()

    a1 = h(f"{value['username']}:{value['realm']}:{password}")
    a2 = h(f"GET:{value['uri']}")
    middle = f"{value['nonce']}:{value['nc']}:{value['cnonce']}:{value['qop']}"
    return value["response"] == h(f"{a1}:{middle}:{a2}") and value["uri"] == asked.path


def refused(*challenges: str) -> bytes:
    lines = "".join(f"WWW-Authenticate: {each}\r\n" for each in challenges)
    return f"HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\n\r\n".encode()


MD5 = 'Digest realm="cam", nonce="abc", qop="auth"'
SHA = 'Digest realm="cam", nonce="abc", algorithm=SHA-256, qop="auth"'


@pytest.mark.parametrize(
    ("challenges", "algorithm"),
    [
        ([MD5], "MD5"),
        ([SHA], "SHA-256"),
        # New Axis cameras offer both, in either order, or all in one line.
        ([MD5, SHA], "SHA-256"),
        ([SHA, MD5, 'Basic realm="cam"'], "SHA-256"),
        ([f'Basic realm="cam", {MD5}'], "MD5"),
        (['Digest realm="cam", nonce="abc", algorithm=SHA-1024, qop="auth"', MD5], "MD5"),
    ],
)
def test_digest_as_cameras_ask_for_it(challenges: list[str], algorithm: str) -> None:
    password = "s3cret/of:the@door"

    def answer(asked: Asked, number: int) -> bytes:
        if "authorization" not in asked.headers or not digest_header(asked, algorithm, password):
            return refused(*challenges)
        return ok("image/jpeg", jpeg(number), length=True)

    with WebCamera(answer, keeps=True) as camera:
        url = camera.url("/a.cgi?x=1&y=2", "admin:s3cret%2Fof:the%40door@")
        with closing(open_camera(url)) as source:
            read(source, 3)
        assert len(camera.asked) == 4, "one refusal for all snapshots"
        reason = failure(camera.url("/", "admin:secret@"))
        assert reason.endswith("wrong user name or password")
        assert failure(camera.url()).endswith("it requires a user name and password")


def test_basic_with_any_characters() -> None:
    logins: list[str] = []

    def answer(asked: Asked, number: int) -> bytes:
        if "authorization" not in asked.headers:
            return refused('Basic realm="cam"')
        logins.append(asked.headers["authorization"])
        return ok("image/jpeg", jpeg(), length=True)

    with WebCamera(answer) as camera:
        for written in ("ad%40min:p%25%23%2F%3F:@", "ad@min:p%#/?:@", "ad%40min:p%25#%2F?:@"):
            with closing(open_camera(camera.url("/x", written))) as source:
                source.read()
    assert logins == ["Basic YWRAbWluOnAlIy8/Og=="] * 3


def test_a_password_is_sent_to_no_other_machine() -> None:
    with WebCamera(lambda *_: ok("image/jpeg", jpeg(), length=True), host="127.0.0.2") as other:
        target = other.url("/snap")
        moved = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        with (
            WebCamera(lambda asked, number: moved) as camera,
            closing(open_camera(camera.url("/", "admin:secret@"))) as source,
        ):
            source.read()
        assert "authorization" not in other.asked[0].headers


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("302 Found\r\nLocation: /again", "more than 5 redirects"),
        ("302 Found\r\nLocation: file:///etc/passwd", "not http:// or https://"),
        ("403 Forbidden", "access denied (403)"),
        ("404 Not Found", "path not found (404)"),
        ("500 Oops", "the camera reports an internal error (500)"),
        ("503 Busy", "the camera is busy, perhaps with too many viewers (503)"),
        ("200 OK\r\nContent-Type: text/html", "it is a web page, not a video"),
        ("200 OK\r\nContent-Type: image/jpeg", "no image in the response"),
    ],
)
def test_what_is_no_camera_is_named(status: str, reason: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with WebCamera(lambda asked, number: answer) as camera:
        assert reason in failure(camera.url("/", "admin:secret@"))


# Time


def test_a_slow_camera_is_waited_for_as_long_as_set() -> None:
    was_asked, may_answer = threading.Event(), threading.Event()

    def answer(asked: Asked, number: int) -> bytes:
        was_asked.set()
        may_answer.wait(PATIENCE_S)
        return ok("image/jpeg", jpeg(), length=True)

    with WebCamera(answer) as camera, ThreadPoolExecutor() as pool:
        opening = pool.submit(open_camera, camera.url(), PATIENT)
        assert was_asked.wait(PATIENCE_S)
        # Asked later, it gives up earlier.
        assert "timed out, no answer in 1 s" in failure(camera.url(), HASTY)
        may_answer.set()
        with closing(opening.result()) as source:
            source.read()


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 999, ok("image/jpeg") + jpeg()]
)
def test_a_camera_that_drips_bytes_is_given_up(sent: bytes) -> None:
    stop = threading.Event()

    def answer(asked: Asked, number: int, connection: socket) -> None:
        drip(connection, sent, stop)

    with WebCamera(answer) as camera:
        assert "timed out" in failure(camera.url(), HASTY)
        stop.set()


def test_a_silent_stream_is_lost_and_a_waiting_read_ends_when_closed() -> None:
    stop = threading.Event()

    def answer(asked: Asked, number: int, connection: socket) -> None:
        connection.sendall(ok("multipart/x-mixed-replace") + part(0, TYPED))
        stop.wait(PATIENCE_S)

    with WebCamera(answer) as camera:
        assert failure(camera.url(), HASTY).endswith("timed out, no data for over 1 s")
        source = open_camera(camera.url(), PATIENT)
        assert isinstance(source, WebSource)
        source.read()
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(source.read)
            while not source._reading.locked():
                assert not reading.done()
            source.close()
            with pytest.raises(SourceUnavailable, match="was closed"):
                reading.result()
        stop.set()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    made = ["-subj", "/CN=camera", "-keyout", str(path), "-out", str(path)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_self_signed_certificate_needs_a_switch(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    with WebCamera(lambda *_: ok("image/jpeg", jpeg(2), length=True)) as camera:
        plain = camera._serving.server.get_request

        def get_request() -> tuple[socket, Any]:
            connection, place = plain()
            return context.wrap_socket(connection, server_side=True), place

        camera._serving.server.get_request = get_request
        url = camera.url().replace("http:", "https:")
        reason = failure(url)
        assert "certificate cannot be verified (self-signed certificate)" in reason
        assert "verify_tls = false" in reason
        # The same setting applies to RTSP over TLS.
        assert "certificate cannot be verified" in failure(url.replace("https:", "rtsps:"))
        with closing(open_camera(url, SourceSettings(verify_tls=False))) as source:
            assert levels(read(source, 1)) == [2]
