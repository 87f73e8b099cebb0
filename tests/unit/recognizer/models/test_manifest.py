from pathlib import Path

import pytest

from recognizer.models.manifest import list_models, read_manifest
from tests.unit.recognizer.models.test_fetch import fill

MANIFEST = read_manifest()


def test_an_empty_cache_lists_every_model_as_missing(tmp_path: Path) -> None:
    listed = list_models(tmp_path)
    assert [entry.name for entry in listed] == list(MANIFEST)
    assert not any(entry.is_cached for entry in listed)
    assert list(tmp_path.iterdir()) == []


def test_the_default_set_is_in_the_manifest() -> None:
    roles = [entry.role for entry in MANIFEST.values()]
    assert {"detector", "embedding", "attributes", "photo"} == set(roles)
    photos = {f.name for e in MANIFEST.values() if e.role == "photo" for f in e.files}
    assert photos == {
        *("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"),
        *("grace_hopper.jpg", "astronaut.png"),
    }


@pytest.mark.parametrize("name", MANIFEST)
def test_every_entry_is_whole(name: str) -> None:
    entry = MANIFEST[name]
    assert entry.licence
    assert entry.source.startswith("https://")
    assert entry.archive in ("wheel", "sdist")
    assert entry.files
    for file in entry.files:
        assert len(file.sha256) == 64
        assert file.size > 0


def test_a_listed_model_of_another_size_is_not_cached(tmp_path: Path) -> None:
    fill(tmp_path, "sface")
    assert not next(m for m in list_models(tmp_path) if m.name == "sface").is_cached
