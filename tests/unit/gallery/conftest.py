from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, NewPhoto

MODEL = "sface-0ba9fbfa"
SIZE = 128


def people(directory: Path, n_people: int, n_photos: int, *, spread: float = 0.05) -> Gallery:
    """Return a gallery of synthetic people, each with photos around a random direction."""
    rng = np.random.default_rng(0)
    gallery = Gallery.open(directory, model_id=MODEL, embedding_size=SIZE)
    number = 0
    for person in range(n_people):
        centre = rng.standard_normal(SIZE) / SIZE**0.5
        photos = []
        for _ in range(n_photos):
            number += 1
            row = centre + spread * rng.standard_normal(SIZE)
            crop = rng.integers(0, 256, (112, 112, 3), np.uint8) if number % 3 else None
            row = (row / np.linalg.norm(row)).astype(np.float32)
            photos.append(NewPhoto(row, crop, f"{number:064x}", number % 10 / 10))
        gallery.photos.add(f"Pérson {person}", photos)
    return gallery


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Gallery]:
    """Return five synthetic people with four photos each, two thirds of them with crops."""
    with people(tmp_path / "few", 5, 4) as gallery:
        yield gallery
