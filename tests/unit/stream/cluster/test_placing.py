"""Which machine is to run which camera."""

from dataclasses import replace

import pytest

from stream.cluster.placing import (
    BUSY,
    REST_S,
    SETTLED_S,
    STEADY_S,
    Levels,
    LoadWatch,
    Machine,
    Wanted,
    load_of,
    moves,
    relieved,
    without_machine,
)

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


@pytest.mark.parametrize(
    ("used", "captured", "lost", "load"),
    [(0.3, 100, 0, 0.3), (0.3, 100, 4, 0.3), (0.3, 100, 20, 1.25), (0.5, 0, 0, 0.5)],
)
def test_a_machine_that_loses_frames_is_loaded_whatever_it_uses(used, captured, lost, load):
    assert load_of(used, captured, lost) == load


def test_a_restarted_count_is_no_load():
    assert load_of(0.2, -50, -3) == 0.2
    assert load_of(0.2, 10, 500) == pytest.approx(10.0)  # never infinite


def watched(watch: LoadWatch, machines, placed, since: float, seconds: float) -> dict[str, float]:
    """Observe machines every half second; return the last answer."""
    found: dict[str, float] = {}
    for turn in range(int(2 * seconds) + 1):
        found = watch.observe(since + turn / 2, machines, placed)
    return found


def test_a_load_is_known_once_it_was_seen_for_a_while():
    watch, placed = LoadWatch(), {"door": "one"}
    busy = replace(ONE, load=0.9)
    assert watched(watch, [busy], placed, 0.0, STEADY_S - 1) == {}
    assert watched(watch, [busy], placed, STEADY_S, 0.0) == {"one": pytest.approx(0.9)}
    # another camera, or a service that started again
    assert watch.observe(STEADY_S + 1, [busy], placed | {"yard": "one"}) == {}
    watched(watch, [busy], placed, 100.0, STEADY_S)
    assert watch.observe(201.0, [replace(busy, age_s=0.0)], placed) == {}


def test_a_crowd_that_passes_is_no_load():
    watch, placed = LoadWatch(), {"door": "one"}
    watched(watch, [replace(ONE, load=0.2)], placed, 0.0, STEADY_S)
    found = watched(watch, [replace(ONE, load=1.0)], placed, STEADY_S + 0.5, 20.0)
    assert found["one"] < BUSY


CAMERAS = [Wanted(f"c{number}") for number in range(6)]
PLACED = {each.name: "one" if number < 3 else "two" for number, each in enumerate(CAMERAS)}


def test_a_busy_machine_gives_a_camera_to_a_calm_one():
    loads = {"one": 0.9, "two": 0.2}
    assert relieved(CAMERAS, [ONE, TWO], PLACED, loads=loads) == {"c2": "two"}
    assert relieved(CAMERAS, [ONE, TWO], PLACED, loads=loads, resting=["c2"]) == {"c1": "two"}


@pytest.mark.parametrize(
    "loads",
    [
        {"one": BUSY, "two": 0.0},  # not busy
        {"one": 0.9, "two": 0.4},  # 0.4 and a third of 0.9 is not calm
        {"one": 0.9},  # not known
        {"two": 0.0},
        {"one": 3.0, "two": 0.0},  # one of three such cameras is too much for any machine
    ],
)
def test_else_every_camera_stays(loads):
    assert relieved(CAMERAS, [ONE, TWO], PLACED, loads=loads) == {}


def test_a_single_camera_stays_on_its_busy_machine():
    assert relieved([DOOR], [ONE, TWO], {"door": "one"}, loads={"one": 2.0, "two": 0.0}) == {}


def test_a_busy_machine_keeps_cameras_that_only_it_reaches():
    docks = [Wanted(f"d{number}", "warehouse") for number in range(4)]
    placed = {each.name: "store" for each in docks}
    assert relieved(docks, [STORE, ONE], placed, loads={"store": 0.9, "one": 0.0}) == {}


def test_a_machine_that_has_just_started_takes_nothing_of_a_busy_one():
    fresh = replace(TWO, age_s=SETTLED_S - 1)
    assert relieved(CAMERAS, [ONE, fresh], PLACED, loads={"one": 0.9, "two": 0.1}) == {}


def test_a_new_camera_goes_to_a_calm_machine_although_it_has_more():
    placed = {"c0": "one", "c1": "two", "c2": "two"}
    wanted = [*CAMERAS[:3], DOOR]
    assert moves(wanted, [ONE, TWO], placed) == {"door": "one"}
    loads = {"one": 0.5, "two": 0.2}
    assert moves(wanted, [ONE, TWO], placed, loads=loads) == {"door": "two"}
    # and nothing is moved to the other one to level their numbers
    placed |= {"door": "two"}
    assert moves(wanted, [ONE, TWO], placed, loads=loads) == {}
    assert moves(wanted, [ONE, TWO], placed) == {"door": "one"}


def test_of_busy_machines_the_least_loaded_gets_the_camera():
    loads = {"one": 0.95, "two": 0.8}
    assert moves([*CAMERAS, DOOR], [ONE, TWO], PLACED, loads=loads) == {"door": "two"}


def test_many_cameras_at_once_count_what_they_will_take():
    placed = {each.name: "one" for each in CAMERAS[:4]} | {"c4": "two", "c5": "two"}
    new = [Wanted(f"n{number}") for number in range(6)]
    loads = {"one": 0.4, "two": 0.2}  # each takes 0.1: one has room for 1, two for 3 more
    found = moves([*CAMERAS, *new], [ONE, TWO], placed, loads=loads)
    assert sorted(found.values()) == ["one"] * 2 + ["two"] * 4


class Site:
    """Two machines whose cameras take what they take, and a clock; placed as a cluster does."""

    def __init__(self, costs: dict[str, float], placed: dict[str, str]) -> None:
        self.costs, self.placed = costs, dict(placed)
        self.moved: list[str] = []
        self._wanted = [Wanted(name) for name in costs]
        self._levels = Levels()

    def load(self, node: str) -> float:
        return sum(self.costs[c] for c, at in self.placed.items() if at == node)

    def run(self, seconds: float) -> None:
        """Run, with loads that vary by a tenth from turn to turn."""
        for turn in range(int(2 * seconds)):
            noise = 1 + 0.1 * (-1) ** turn
            machines = [replace(each, load=noise * self.load(each.node)) for each in (ONE, TWO)]
            found = self._levels.turn(turn / 2, self._wanted, machines, self.placed)
            self.placed |= found
            self.moved += found


def test_heavy_cameras_are_spread_and_then_stay_for_an_hour():
    costs = {"h0": 0.35, "h1": 0.35, "l0": 0.05, "l1": 0.05, "l2": 0.05, "h2": 0.35}
    placed = {"h0": "one", "h1": "one", "h2": "one", "l0": "two", "l1": "two", "l2": "two"}
    site = Site(costs, placed)
    site.run(3600.0)
    assert site.moved == ["h2"]
    assert site.load("one") == pytest.approx(0.7)


def test_calm_machines_keep_their_cameras_for_an_hour():
    costs = {"h0": 0.2, "h1": 0.2, "l0": 0.02, "l1": 0.02}
    site = Site(costs, {"h0": "one", "h1": "one", "l0": "two", "l1": "two"})
    site.run(3600.0)
    assert site.moved == []


def test_cameras_that_are_too_heavy_for_both_machines_stay():
    costs = {f"h{number}": 0.5 for number in range(4)}
    site = Site(costs, {"h0": "one", "h1": "one", "h2": "two", "h3": "two"})
    site.run(3600.0)
    assert site.moved == []


def test_a_camera_whose_weight_was_misjudged_moves_at_most_once_in_ten_minutes():
    costs = {"l0": 0.1, "l1": 0.1, "h0": 0.6, "l2": 0.05}
    site = Site(costs, {"l0": "one", "l1": "one", "h0": "one", "l2": "two"})
    site.run(3600.0)
    assert len(site.moved) <= 3600 / REST_S
