"""Photos for tests: the shared test data if present, and the public-domain demo photos."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recognizer.cache import default_cache
from recognizer.models.fetch import fetch_photos

ROOT = Path(os.environ.get("FACEWIRE_SHARED", Path(__file__).parents[2] / "shared"))


def shared_data(name: str) -> Path:
    """Return a path below the shared test data, or skip the test if there is none."""
    path = ROOT / "data" / name
    if not path.exists():
        pytest.skip(f"no shared test data: {name}")
    return path


def photos() -> Path:
    """Return the directory of the public-domain demo photos, fetching them if needed."""
    return fetch_photos(default_cache(), None)


def read_bgr(path: Path) -> NDArray[np.uint8]:
    """Return a photo, as read by OpenCV: (H, W, 3), BGR, uint8."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return np.asarray(image, np.uint8)
