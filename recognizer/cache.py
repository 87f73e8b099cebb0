"""The directory that holds fetched and added models."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "FACEWIRE_CACHE"


def default_cache() -> Path:
    """Return the user's cache directory, or the directory in FACEWIRE_CACHE."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("facewire"))
