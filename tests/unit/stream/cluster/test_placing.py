"""Which machine is to run which camera."""

from dataclasses import replace

from stream.cluster.placing import SETTLED_S, Machine, Wanted, moves, without_machine

DOOR, YARD, DOCK = Wanted("door"), Wanted("yard"), Wanted("dock", "warehouse")
ONE = Machine("one", None, 4.0, 0.0, SETTLED_S)
TWO = replace(ONE, node="two")
STORE = replace(ONE, node="store", site="warehouse")


def test_cameras_are_spread():
    cameras = [Wanted(f"c{number}") for number in range(9)]
    found = moves(cameras, [ONE, TWO, replace(ONE, node="three")], {})
    assert sorted(found.values()) == sorted(["one", "two", "three"] * 3)


def test_a_machine_with_twice_the_cores_gets_twice_the_cameras():
    cameras = [Wanted(f"c{number}") for number in range(9)]
    found = moves(cameras, [ONE, replace(TWO, cores=8.0)], {})
    assert list(found.values()).count("two") == 6


def test_of_equal_machines_the_one_that_does_less_gets_the_camera():
    assert moves([DOOR], [replace(ONE, load=0.5), TWO], {}) == {"door": "two"}


def test_a_site_has_cameras_of_its_own_and_those_of_none():
    assert moves([DOCK, DOOR], [STORE], {}) == {"dock": "store", "door": "store"}
    assert moves([DOCK, DOOR], [ONE], {}) == {"door": "one"}
    assert moves([DOCK], [STORE, ONE], {"dock": "one"}) == {"dock": "store"}


def test_cameras_of_a_dead_machine_go_to_the_others():
    placed = {"door": "one", "yard": "two"}
    assert moves([DOOR, YARD], [TWO], placed) == {"door": "two"}
    assert moves([DOOR, YARD], [], placed) == {}


def test_one_camera_at_a_time_is_moved_to_a_machine_with_fewer():
    cameras = [Wanted(f"c{number}") for number in range(4)]
    placed = {camera.name: "one" for camera in cameras}
    moved = []
    while found := moves(cameras, [ONE, TWO], placed):
        moved.append(found)
        placed |= found
    assert moved == [{"c3": "two"}, {"c2": "two"}]
    assert moves(cameras, [ONE, TWO], dict.fromkeys(placed, "one"), levels=False) == {}
    fresh = replace(TWO, age_s=SETTLED_S - 1)
    assert moves(cameras, [ONE, fresh], dict.fromkeys(placed, "one")) == {}


def test_cameras_of_a_site_are_not_moved_away():
    docks = [Wanted(f"d{number}", "warehouse") for number in range(4)]
    assert moves(docks, [STORE, ONE], {each.name: "store" for each in docks}) == {}


def test_moves_end_whatever_the_cores_are():
    cameras = [Wanted(f"c{number}") for number in range(13)]
    machines = [replace(ONE, node=str(cores), cores=cores) for cores in (1.0, 2.0, 3.0, 16.0)]
    placed = {camera.name: "1.0" for camera in cameras}
    for _ in range(100):
        found = moves(cameras, machines, placed)
        placed |= found
    assert found == {}
    assert list(placed.values()).count("16.0") >= 9


def test_the_reason_is_said_for_a_camera_without_a_machine():
    lines = without_machine([DOOR, DOCK, YARD], [ONE], {"yard": "one"})
    assert lines == {
        "door": "it waits for the coordinator",
        "dock": "no machine of site warehouse runs",
    }
    assert without_machine([DOOR], [], {"door": "one"}) == {"door": "no machine runs"}


def test_a_camera_on_a_machine_of_another_site_is_a_problem():
    placed = {"dock": "one", "door": "one"}
    assert moves([DOCK, DOOR], [ONE, TWO], placed, levels=False) == {}
    assert without_machine([DOCK, DOOR], [ONE, TWO], placed) == {
        "dock": "it stays on one, which is not of site warehouse: no machine of that site runs"
    }
    lines = without_machine([DOCK, DOOR], [ONE, STORE], placed)
    assert lines == {"dock": "it waits for the coordinator"}
    assert without_machine([DOCK], [STORE], {"dock": "store"}) == {}
