"""Past events from a directory to a database, and to another directory."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gallery import Gallery, NewPhoto
from stream.errors import EventLogError
from stream.events import replica
from stream.events.log import EventLog
from stream.events.schema import connect
from stream.replication.moving import copy_events
from tests.postgres_server import Server
from tests.unit.stream.events.test_sightings import SIZE, event, sighting, unit
from tests.unit.stream.replication.test_replicator import Machine, both, stored

FACEWIRE = Path(sys.executable).with_name("facewire")


@pytest.fixture
def address(postgres: Server) -> str:
    return postgres.new_database()


def seen_by(directory: Path) -> None:
    """Log three strangers with a sighting each, on one machine alone."""
    with (
        Gallery.open(directory, model_id="m", embedding_size=SIZE) as gallery,
        EventLog.open(directory) as log,
    ):
        gallery.photos.add("Ann", [NewPhoto(unit(3), None, "a" * 64, 0.9)])
        log.follow(gallery)
        for number in range(3):
            log.append(event(seen=sighting()), 1_700_000_000.25 + number)


def rows(directory: Path, part: str) -> list[tuple[object, ...]]:
    columns = ", ".join(replica.PARTS[part])
    with closing(connect(directory)) as connection:
        return connection.execute(f"SELECT {columns} FROM {part} ORDER BY id").fetchall()


def test_events_go_to_a_database_and_come_back_with_those_of_others(
    tmp_path: Path, address: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    seen_by(here)
    seen: list[tuple[int, int]] = []
    moved = copy_events(here, here, address, progress=lambda *each: seen.append(each))
    assert moved.rows == {"events": 3, "sightings": 1}
    assert seen[-1] == (4, 4)
    assert copy_events(here, here, address) == moved  # nothing is doubled
    assert stored(address, "count(*) FROM facewire.events") == [(3,)]
    with closing(Machine(tmp_path / "other", address, "yard")) as other:
        other.turn()
        other.see("yard")
        both(other)
    back = copy_events(address, here, there)
    assert back.rows == {"events": 4, "sightings": 2}
    for part in replica.PARTS:
        assert [row for row in rows(there, part) if row in rows(here, part)] == rows(here, part)
    with closing(connect(there)) as connection:
        assert not replica.is_shared(connection)


def test_a_row_that_differs_is_reported(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_by(tmp_path / "here")
    monkeypatch.setattr("stream.replication.moving.clean", lambda row: (*row[:-1], "other"))
    with pytest.raises(EventLogError, match="the table events came out differently"):
        copy_events(tmp_path / "here", tmp_path / "here", address)


def test_the_command_moves_people_and_events(tmp_path: Path, address: str) -> None:
    seen_by(tmp_path / "here")
    command = [
        str(FACEWIRE),
        "migrate",
        "--to",
        address,
        "--gallery",
        str(tmp_path / "here"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tables = json.loads(done.stdout)["tables"]
    assert tables["events"]["rows"] == 3
    assert {"identities", "photos", "sightings"} < tables.keys()
    assert all(len(each["sha256"]) == 64 for each in tables.values())


def test_visitors_go_with_the_events(tmp_path: Path, address: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    seen_by(here)
    with closing(connect(here)) as connection:
        connection.execute(
            "INSERT INTO visitors (visitor_id, first_seen, last_seen, visit_count, is_ignored, "
            "root) VALUES ('0123456789abcdef', 1, 2, 1, 1, 1)"
        )
        connection.execute("UPDATE sightings SET visitor_id = '0123456789abcdef'")
    copy_events(here, here, address)
    whose = "visitor_id FROM facewire.visitor_sightings JOIN facewire.sightings USING (id)"
    assert stored(address, whose) == [("0123456789abcdef",)]
    copy_events(address, tmp_path / "none", there)
    with closing(connect(there)) as connection:
        found = connection.execute(
            "SELECT number, is_ignored FROM visitors JOIN sightings USING (visitor_id)"
        ).fetchall()
    assert found == [(1, 1)]
