"""RTSP cameras that all show one film, in which one person comes and goes."""

import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np

from recognizer import default_cache, fetch_photos
from stream.demo.scene import COLLINS
from tests.rtsp_server import RtspServer

FPS, WIDTH, HEIGHT = 5, 320, 240
LOOP_S, STAY_S = 14.0, 8.0


class Film:
    """One person who comes and goes, seen by several cameras at different times.

    Args:
        cameras: that send it.
    """

    def __init__(self, cameras: Sequence[RtspServer]) -> None:
        self._pictures = _pictures()
        self._cameras = cameras
        self._is_empty = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="film")
        self.began = time.time()
        self.emptied = float("inf")

    def stays(self, camera: int) -> Iterator[tuple[float, float]]:
        """Yield the stays of a camera, seconds since 1970, up to the end."""
        until = min(self.emptied, time.time())
        came = self.began - self._shift(camera) / FPS
        while came < until:
            if came > self.began and came + STAY_S < until:
                yield came, came + STAY_S
            came += LOOP_S

    def empty(self) -> None:
        """Show nobody from now on."""
        self.emptied = time.time()
        self._is_empty.set()

    def __enter__(self) -> "Film":
        self.began = time.time()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _shift(self, camera: int) -> int:
        return round(camera * len(self._pictures) / len(self._cameras))

    def _send(self) -> None:
        number = 0
        while not self._over.wait(max(0.0, self.began + number / FPS - time.time())):
            for index, camera in enumerate(self._cameras):
                at = (number + self._shift(index)) % len(self._pictures)
                camera.feed(self._pictures[-1 - number % FPS if self._is_empty.is_set() else at])
            number += 1


def _pictures() -> list[bytes]:
    """Return the frames of the film as H.264, each a keyframe."""
    photo = cv2.imread(str(fetch_photos(default_cache(), None) / COLLINS.file))
    assert photo is not None
    x, y, size = COLLINS.face
    height, width = photo.shape[:2]
    half = size * height
    top, left = int(y * height - half), int(x * width - half)
    face = cv2.resize(
        photo[max(0, top) : int(top + 2 * half), max(0, left) : int(left + 2 * half)], (180, 180)
    )
    room = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    room[HEIGHT // 2 :] = 90
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate = Fraction(FPS)
    encoder.time_base = Fraction(1, FPS)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "g": "1"}
    found = []
    for number in range(round(LOOP_S * FPS)):
        image = room.copy()
        cv2.circle(image, (10 + 4 * (number % FPS), 10), 5, (200, 200, 200), -1)  # not frozen
        if number < STAY_S * FPS:
            at = 70 + round(10 * np.sin(number / 4))
            image[40:220, at : at + 180] = face
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts = number
        found.append(b"".join(bytes(packet) for packet in encoder.encode(frame)))
    return found
