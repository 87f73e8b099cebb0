from pathlib import Path

import pytest

from gallery import Gallery
from stream.doctor import (
    check_addresses,
    check_database,
    check_directories,
    check_owners,
    check_processors,
)
from tests.postgres_server import ENCODED, Server

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


def test_a_database_is_checked_and_shown_without_its_password(postgres: Server, tmp_path: Path):
    assert list(check_database(tmp_path)) == []
    address = postgres.new_database()
    (empty,) = check_database(address)
    Gallery.open(address, model_id="m", embedding_size=4).close()
    (full,) = check_database(address)
    (away,) = check_database(address.replace(f":{postgres.port}/", ":1/"))
    assert [each.is_fine for each in (empty, full, away)] == [True, True, False]
    assert empty.detail == f"{full.detail}, empty"
    assert "cannot reach the gallery's database postgresql://facewire@127.0.0.1:1/" in away.detail
    assert not any(ENCODED in each.detail for each in (empty, full, away))


@pytest.mark.parametrize(
    ("usable", "limit", "detail"),
    [
        (64, None, "64 may be used"),
        (64, 80, "64 may be used"),
        (2, 2, "2 of 64 may be used, the limit of its container or control group"),
        (4, None, "4 of 64 may be used"),
    ],
)
def test_the_processors_and_their_limit_are_named(
    monkeypatch: pytest.MonkeyPatch, usable: int, limit: int | None, detail: str
):
    monkeypatch.setattr("stream.doctor.usable_cpus", lambda: usable)
    monkeypatch.setattr("stream.doctor.cgroup_cpus", lambda: limit)
    monkeypatch.setattr("stream.doctor.os.cpu_count", lambda: 64)
    assert check_processors().detail == detail
