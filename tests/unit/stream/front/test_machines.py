import json

import pytest

from stream.front.machines import AWAY_S, Machines
from stream.replication.presence import Meeting, Neighbor, Presence
from stream.schemas.cameras import CameraJson, camera_json
from tests.fake_service import status


def camera(name: str, machine: str = "a") -> CameraJson:
    return camera_json(status(name), is_admin=True, machine=machine)


def neighbor(
    node: int, *cameras: str, owned: tuple[str, ...] = (), seen_s: float = 0.0, name: str = ""
) -> Neighbor:
    state = {"cameras": [camera(each) for each in cameras], "problems": []}
    presence = Presence(f"http://10.0.0.{node}:8080", "0.1", json.dumps(state))
    return Neighbor(node, name or f"m{node}", presence, seen_s, frozenset(owned))


@pytest.fixture
def machines() -> Machines:
    return Machines("here", "http://10.0.0.1:8080", "0.1", is_own=lambda name: name == "own")


def meet(machines: Machines, *neighbors: Neighbor) -> None:
    machines.met(Meeting(1, "secret", 0.0, neighbors))


def owner(machines: Machines, name: str) -> str | None:
    found = machines.owner_of(name)
    return None if found is None else found.name


def test_the_database_says_who_runs_a_camera(machines: Machines):
    meet(machines, neighbor(2, "door", "hall"), neighbor(3, "door", owned=("door",)))
    assert owner(machines, "door") == "m3"
    assert owner(machines, "hall") == "m2"  # it is off, so nobody owns it
    assert owner(machines, "none") is None
    found = machines.cameras(is_admin=True)
    assert [(each["name"], each["machine"]) for each in found] == [("door", "m3"), ("hall", "m2")]


def test_a_camera_of_this_machine_is_not_anothers(machines: Machines):
    meet(machines, neighbor(2, "own", owned=("own",)))
    assert owner(machines, "own") is None
    assert machines.cameras(is_admin=True) == []


def test_a_camera_that_was_taken_over_is_its_new_owners(machines: Machines):
    meet(machines, neighbor(2, "door", owned=("door",), seen_s=20.0), neighbor(3))
    assert machines.cameras(is_admin=True)[0]["state"] == "failing"
    meet(machines, neighbor(2, "door", seen_s=22.0), neighbor(3, owned=("door",)))
    (shown,) = machines.cameras(is_admin=True)
    assert (shown["state"], shown["machine"]) == ("connecting", "m3")
    meet(machines, neighbor(2, "door", seen_s=25.0), neighbor(3, "door", owned=("door",)))
    (shown,) = machines.cameras(is_admin=True)
    assert (shown["state"], shown["machine"]) == ("live", "m3")


def test_an_away_machine_and_its_cameras_are_reported(machines: Machines):
    meet(machines, neighbor(2, "door", owned=("door", "hall"), seen_s=AWAY_S + 1))
    assert machines.lines() == ["machine m2 has not answered for 9 s: no video of door, hall"]
    (shown,) = machines.cameras(is_admin=True)
    assert shown["reason"] == "machine m2, which runs it, does not answer"
    assert [each["state"] for each in machines.to_json()] == ["ok", "away"]


def test_a_machine_that_cannot_be_called_is_reported(machines: Machines):
    meet(machines, neighbor(2, "door", owned=("door",)))
    machines.troubles = {2: "cannot connect"}
    assert machines.lines() == [
        "machine m2 runs, and cannot be reached at the url of its [cluster]: cannot connect"
    ]
    assert machines.to_json()[1]["state"] == "unreachable"


def test_viewers_see_no_urls(machines: Machines):
    meet(machines, neighbor(2, "door", owned=("door",)))
    assert machines.cameras(is_admin=True)[0]["url"] == "rtsp://***@192.0.2.7/live"
    (shown,) = machines.cameras(is_admin=False)
    assert (shown["url"], shown["settings"]["url"]) == ("", "")


def test_two_machines_of_one_name_are_reported(machines: Machines):
    meet(machines, neighbor(2, name="here"))
    assert machines.lines() == ["2 machines are named here: set name in [cluster] of each"]


def test_what_another_version_says_is_reported(machines: Machines):
    said = Neighbor(2, "m2", Presence("http://m2", "9.0", '{"cameras": 7}'), 0.0, frozenset())
    meet(machines, said)
    assert machines.cameras(is_admin=True) == []
    assert machines.to_json()[1]["problems"] == [
        "it says what this version cannot read: it has facewire 9.0"
    ]


def test_what_this_machine_says_is_read_by_another(machines: Machines):
    assert machines.presence() is None
    machines.tell([camera("door", "here")], ["camera door is failing: no route"])
    presence = machines.presence()
    assert presence is not None
    other = Machines("other", "http://10.0.0.2", "0.1", is_own=lambda name: False)
    other.met(Meeting(2, "secret", 0.0, [Neighbor(1, "here", presence, 0.0, frozenset())]))
    assert [each["name"] for each in other.cameras(is_admin=False)] == ["door"]
    assert other.to_json()[1]["problems"] == ["camera door is failing: no route"]
