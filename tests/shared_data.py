"""Where tests find photos: the shared test data where it is, and the public-domain demo photos."""

import os
from pathlib import Path

import pytest

from recognizer.cache import default_cache
from recognizer.models.fetch import fetch_photos

ROOT = Path(os.environ.get("FACEWIRE_SHARED", Path(__file__).parents[2] / "shared"))


def shared_data(name: str) -> Path:
    """Return a path below the shared test data, or skip the test where there is none."""
    path = ROOT / "data" / name
    if not path.exists():
        pytest.skip(f"no shared test data: {name}")
    return path


def photos() -> Path:
    """Return the directory of the public-domain demo photos, fetching them if needed."""
    return fetch_photos(default_cache(), None)
