from pathlib import Path

import pytest

from stream.doctor import check_addresses, check_directories, check_owners

OURS = {name: ["facewire"] for name in ("stream", "recognizer", "gallery", "trainer")}


@pytest.mark.parametrize(
    ("owners", "is_fine"),
    [
        ({}, True),
        (OURS, True),
        ({**OURS, "numpy": ["numpy"]}, True),
        ({**OURS, "trainer": ["facewire", "trainer"]}, False),
        ({**OURS, "stream": ["facewire", "facewire"]}, True),
    ],
)
def test_owners(owners: dict[str, list[str]], is_fine: bool):
    finding = check_owners(owners)
    assert finding.is_fine is is_fine
    assert is_fine or "trainer is also a package of trainer" in finding.detail


def test_directories_to_be_made_are_fine(tmp_path: Path):
    (finding,) = check_directories({"cache": tmp_path / "a" / "b"})
    assert finding.is_fine
    assert str(tmp_path / "a" / "b") in finding.detail


def test_a_file_in_the_way_is_not(tmp_path: Path):
    (tmp_path / "a").touch()
    (finding,) = check_directories({"cache": tmp_path / "a" / "b"})
    assert not finding.is_fine
    assert str(tmp_path / "a") in finding.detail


@pytest.mark.parametrize(
    ("addresses", "is_fine"),
    [
        ([], False),
        (["127.0.0.1", ("::1", 0, 0)], False),
        (["127.0.0.1", "192.0.2.7"], True),
    ],
)
def test_addresses(addresses: list[str | tuple[str, int, int]], is_fine: bool):
    assert check_addresses(addresses).is_fine is is_fine
