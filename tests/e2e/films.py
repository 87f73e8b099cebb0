"""Films of people who come into view, for cameras of end-to-end tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.shared_data import photos, read_bgr

AWAY_S, IN_VIEW_S, FPS = 2, 4, 10


def film_of(path: Path, names: Sequence[str]) -> Path:
    """Write a film in which people come into view one after the other."""
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (640, 480))
    empty = np.full((480, 640, 3), 60, np.uint8)
    for name in names:
        photo = read_bgr(photos() / name)
        width = min(640, round(480 * photo.shape[1] / photo.shape[0]))
        picture = empty.copy()
        picture[:, :width] = cv2.resize(photo, (width, 480))
        for step in range(IN_VIEW_S * FPS):
            film.write(np.roll(picture, 2 * (step % 8), axis=1))
        for _ in range(AWAY_S * FPS):
            film.write(empty)
    film.release()
    return path


def still_film(path: Path, photo: str = "") -> Path:
    """Write a film of five seconds that shows one photo, or nothing."""
    picture = np.full((480, 640, 3), 60, np.uint8)
    if photo:
        picture = cv2.resize(read_bgr(photos() / photo), (640, 480))
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (640, 480))
    for _ in range(5 * FPS):
        film.write(picture)
    film.release()
    return path
