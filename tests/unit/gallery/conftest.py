from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, NewPhoto, Place
from tests.postgres_server import Server

MODEL = "sface-0ba9fbfa"
SIZE = 128


def people(place: Place, n_people: int, n_photos: int, *, spread: float = 0.05) -> Gallery:
    """Return a gallery of synthetic people, each with photos around a random direction."""
    rng = np.random.default_rng(0)
    gallery = Gallery.open(place, model_id=MODEL, embedding_size=SIZE)
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


Places = Callable[[str], Place]
"""Returns the place of a name, the same for each call: a directory or a database."""


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Return places for galleries, of the store that the test runs with."""
    if request.param == "sqlite":
        yield lambda name: tmp_path / name
        return
    server: Server = request.getfixturevalue("postgres")
    known: dict[str, str] = {}

    def place(name: str) -> str:
        if name not in known:
            known[name] = server.new_database()
        return known[name]

    yield place
    for address in known.values():
        server.drop(address)


@pytest.fixture
def few(places: Places) -> Iterator[Gallery]:
    """Return five synthetic people with four photos each, two thirds of them with crops."""
    with people(places("few"), 5, 4) as gallery:
        yield gallery


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses `places` with both stores, except those of the file itself."""
    if "places" in metafunc.fixturenames:
        is_of_file = metafunc.definition.get_closest_marker("on_disk") is not None
        stores = ["sqlite"] if is_of_file else ["sqlite", "postgresql"]
        metafunc.parametrize("places", stores, indirect=True)
