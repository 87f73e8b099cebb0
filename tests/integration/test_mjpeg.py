"""MJPEG of a camera, read by a real HTTP client from the real service."""

import contextlib
import http.client
import itertools
import time
from collections.abc import Iterator
from email.message import Message
from urllib.parse import urlsplit

import cv2
import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.api.mjpeg import MAX_STREAMS
from tests.e2e.harness import RunningService, service

pytestmark = pytest.mark.integration

TOKEN, VIEWER = "correct-horse-battery", "look-but-do-not-touch"
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("mjpeg")
    tables = [
        f'[[cameras]]\nname = "{name}"\nurl = "demo:"\ntarget_fps = 5\n'
        for name in ("door", "yard")
    ]
    config = folder / "facewire.toml"
    config.write_text("\n".join(tables))
    arguments = [f"--config={config}"]
    with service("mjpeg", folder / "data", *arguments, token=TOKEN, viewer_token=VIEWER) as found:
        with asking(found) as client:
            for name in ("door", "yard"):
                deadline = time.monotonic() + PATIENCE_S
                while client.get(f"/api/cameras/{name}/snapshot.jpg").status_code != 200:
                    assert time.monotonic() < deadline, client.get("/api/cameras").text
                    time.sleep(0.1)
        yield found
        # The service stops in time although somebody watches.
        watching = Stream(found, "/api/cameras/door/stream.mjpg")
        assert watching.frame() is not None
    watching.close()
    assert found.process.returncode == 0


def asking(running: RunningService, token: str = VIEWER) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=running.url, headers=headers, timeout=PATIENCE_S)


class Stream:
    """A client of MJPEG, as simple as those of cameras are."""

    def __init__(self, running: RunningService, path: str) -> None:
        parts = urlsplit(running.url)
        self.connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=PATIENCE_S
        )
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {VIEWER}"})
        self.answer = self.connection.getresponse()

    def frame(self) -> NDArray[np.uint8] | None:
        """Return the next frame, BGR; None at the end."""
        line = self.answer.readline()
        while line and line.strip() != b"--frame":
            line = self.answer.readline()
        if not line:
            return None
        head = Message()
        while (line := self.answer.readline()).strip():
            name, _, value = line.decode().partition(":")
            head[name] = value.strip()
        if not head:
            return None
        assert head["content-type"] == "image/jpeg"
        jpeg = self.answer.read(int(head["content-length"]))
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_frames_come_one_after_another(running: RunningService) -> None:
    with contextlib.closing(
        Stream(running, "/api/cameras/door/stream.mjpg?width=320&fps=25")
    ) as stream:
        assert stream.answer.status == 200
        assert stream.answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        assert stream.answer.headers["cache-control"] == "no-store"
        frames = [stream.frame() for _ in range(4)]
    shown = [each for each in frames if each is not None]
    assert [each.shape for each in shown] == [(180, 320, 3)] * 4
    differing = [np.any(a != b) for a, b in itertools.pairwise(shown[1:])]
    assert all(differing), "the same frame came twice"


def test_the_sign_in_is_that_of_snapshots(running: RunningService) -> None:
    path = "/api/cameras/door/stream.mjpg"
    with asking(running, "") as client:
        assert client.get(path).status_code == 401
    with asking(running) as client:
        assert client.get("/api/cameras/none/stream.mjpg").status_code == 404
        assert client.get(path, params={"fps": "0"}).status_code == 422
        assert client.get(path, params={"width": "1"}).status_code == 422
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("multipart/x-mixed-replace")


def test_a_client_gets_a_bounded_number_and_those_that_leave_make_room(
    running: RunningService,
) -> None:
    path = "/api/cameras/door/stream.mjpg?fps=1&width=64"
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_STREAMS // 2):
            stream = stack.enter_context(contextlib.closing(Stream(running, path)))
            assert stream.answer.status == 200
        more = stack.enter_context(contextlib.closing(Stream(running, path)))
        assert more.answer.status == 503
        assert b"too many MJPEG streams" in more.answer.read()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.closing(Stream(running, path)) as again:
            if again.answer.status == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_ends_with_its_camera(running: RunningService) -> None:
    with contextlib.closing(Stream(running, "/api/cameras/yard/stream.mjpg?fps=25")) as stream:
        assert stream.frame() is not None
        with asking(running, TOKEN) as admin:
            assert admin.delete("/api/cameras/yard").status_code == 204
        while stream.frame() is not None:
            pass
    with asking(running) as client:
        assert client.get("/api/cameras/yard/stream.mjpg").status_code == 404
