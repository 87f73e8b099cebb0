"""Which machine is to run which camera; pure, time is an argument."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SETTLED_S = 20.0
"""Seconds for which a machine runs before cameras of others are moved to it."""

LEVEL_S = 10.0
"""Seconds between two moves of cameras from a busier machine to another."""

STEADY_S = 60.0
"""Seconds with the same cameras after which the mean load of a machine is known: a crowd that
passes moves no camera, nor does the start of one."""

BUSY, CALM = 0.7, 0.55
"""A machine whose load is above the first gives a camera away, to one whose load would then be at
most the second. What lies between keeps a camera from being moved back."""

BEHIND = 0.05
"""Part of its frames from which a machine is too slow for them, as for a process of it."""

REST_S = 600.0
"""How long a camera that was moved because of load stays where it is, seconds: what it takes is
only known as the mean of its machine's cameras."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A camera that some machine is to run.

    Attributes:
        name: of the camera.
        site: name of the site whose machines reach it; None for all.
    """

    name: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that can run cameras.

    Attributes:
        node: its name.
        site: where it is; None for nowhere in particular.
        cores: processor cores that it may use.
        load: of these, the part in use, 0 to 1; more while it loses frames: what all would take.
        age_s: seconds since its service started.
    """

    node: str
    site: str | None
    cores: float
    load: float
    age_s: float


def reaches(machine: Machine, camera: Wanted) -> bool:
    """Return whether a machine can run a camera."""
    return camera.site is None or camera.site == machine.site


def load_of(used: float, captured: int, lost: int) -> float:
    """Return the load of a machine: above 1 if it loses frames, whatever of its cores is in use.

    Args:
        used: part of its cores, 0 to 1.
        captured: frames since the last sign.
        lost: of those, for lack of time.
    """
    part = min(max(lost, 0) / captured, 0.9) if captured > 0 else 0.0
    return max(used, 1.0) / (1.0 - part) if part >= BEHIND else used


@dataclass(slots=True)
class _Measured:
    cameras: frozenset[str]
    age_s: float
    samples: deque[tuple[float, float]] = field(default_factory=deque)


@dataclass(slots=True)
class LoadWatch:
    """Watches the loads of machines, until they are steady."""

    _measured: dict[str, _Measured] = field(default_factory=dict)

    def observe(
        self, now: float, machines: Sequence[Machine], placed: Mapping[str, str]
    ) -> dict[str, float]:
        """Take the present loads; return the mean ones of machines with the same cameras for long.

        Args:
            now: seconds, monotonic.
            machines: those that run.
            placed: machines of cameras.
        """
        before, self._measured = self._measured, {}
        steady = {}
        for machine in machines:
            cameras = frozenset(name for name, node in placed.items() if node == machine.node)
            held = before.get(machine.node)
            if held is None or held.cameras != cameras or machine.age_s < held.age_s:
                held = _Measured(cameras, machine.age_s)
            held.age_s = machine.age_s
            held.samples.append((now, machine.load))
            while len(held.samples) > 1 and now - held.samples[1][0] >= STEADY_S:
                held.samples.popleft()
            if now - held.samples[0][0] >= STEADY_S:
                steady[machine.node] = sum(load for _, load in held.samples) / len(held.samples)
            self._measured[machine.node] = held
        return steady


def moves(
    wanted: Sequence[Wanted],
    machines: Sequence[Machine],
    placed: Mapping[str, str],
    *,
    levels: bool = True,
    loads: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Return the cameras to place, and their machines: those that no running machine has.

    Each goes to the machine with the fewest cameras for a core, of those that stay calm; of equal
    ones, to the one whose cores are used least. If all are placed, and one machine has at least two
    more than another would then have, one camera is moved, since each move interrupts its video for
    a moment.

    Args:
        wanted: the cameras.
        machines: those that run.
        placed: machines of cameras, also such as do not run.
        levels: whether a camera may be moved although its machine runs.
        loads: measured loads of machines, see `LoadWatch`; a machine without one counts as calm.
    """
    known = loads or {}
    running = {machine.node: machine for machine in machines}
    counts = Counter(node for camera, node in placed.items() if node in running)
    expected = _Expected(machines, counts, known)
    found: dict[str, str] = {}
    for camera in wanted:
        there = running.get(placed.get(camera.name, ""))
        if there is not None and reaches(there, camera):
            continue
        target = _least(machines, camera, counts, expected)
        if target is None:
            continue
        if there is not None:
            counts[there.node] -= 1
        counts[target.node] += 1
        found[camera.name] = target.node
    if found or not levels:
        return found
    return _leveled(wanted, machines, placed, counts, expected)


def relieved(
    wanted: Sequence[Wanted],
    machines: Sequence[Machine],
    placed: Mapping[str, str],
    *,
    loads: Mapping[str, float],
    resting: Iterable[str] = (),
) -> dict[str, str]:
    """Return one camera to move from the busiest machine to a calm one; empty if there is none.

    Args:
        wanted: the cameras; the last one that may move is moved.
        machines: those that run.
        placed: machines of cameras.
        loads: as for `moves`; a machine without one neither gives nor takes a camera.
        resting: cameras that stay where they are.
    """
    by_node = {machine.node: machine for machine in machines}
    counts = Counter(node for node in placed.values() if node in by_node)
    expected = _Expected(machines, counts, loads)
    busy = sorted(
        (node for node in by_node if loads.get(node, 0.0) > BUSY and counts[node] > 1),
        key=lambda node: (-loads[node], node),
    )
    settled = [each for each in machines if each.age_s >= SETTLED_S and each.node in loads]
    stay = frozenset(resting)
    for node in busy:
        cores = loads[node] * by_node[node].cores / counts[node]
        for camera in reversed(wanted):
            if placed.get(camera.name) != node or camera.name in stay:
                continue
            ways = [
                (expected.load(each, counts, cores), each.node)
                for each in settled
                if each.node != node and reaches(each, camera)
            ]
            if ways and min(ways)[0] <= CALM:
                return {camera.name: min(ways)[1]}
    return {}


@dataclass(slots=True)
class Levels:
    """Places cameras by number and load, a few and seldom."""

    _watch: LoadWatch = field(default_factory=LoadWatch)
    _relieved_at: dict[str, float] = field(default_factory=dict)
    _busy_at: dict[str, float] = field(default_factory=dict)
    _level_at: float = float("-inf")

    def turn(
        self,
        now: float,
        wanted: Sequence[Wanted],
        machines: Sequence[Machine],
        placed: Mapping[str, str],
        *,
        may_level: bool = True,
    ) -> dict[str, str]:
        """Return the cameras to place now, and their machines; see `moves` and `relieved`.

        Args:
            now: seconds, monotonic.
            wanted: the cameras.
            machines: those that run.
            placed: machines of cameras, also such as do not run.
            may_level: whether a camera may be moved although its machine runs.
        """
        loads = self._watch.observe(now, machines, placed)
        # Where nothing is known yet after a camera was taken away, it must not be moved back.
        was_busy = [node for node, at in self._busy_at.items() if now - at < REST_S]
        known = dict.fromkeys(was_busy, BUSY) | loads
        found = moves(wanted, machines, placed, levels=False, loads=known)
        if found or not may_level or now - self._level_at < LEVEL_S:
            return found
        resting = [name for name, at in self._relieved_at.items() if now - at < REST_S]
        found = relieved(wanted, machines, placed, loads=loads, resting=resting)
        for camera in found:
            self._relieved_at[camera] = self._busy_at[placed[camera]] = now
        if not found:
            found = moves(wanted, machines, placed, loads=known)
        if found:
            self._level_at = now
        return found


def without_machine(
    wanted: Iterable[Wanted], machines: Sequence[Machine], placed: Mapping[str, str]
) -> dict[str, str]:
    """Return the cameras that no running machine of their site has, each with the reason."""
    running = {machine.node: machine for machine in machines}
    lines = {}
    for camera in wanted:
        there = running.get(placed.get(camera.name, ""))
        if there is not None and reaches(there, camera):
            continue
        if there is not None and not any(reaches(machine, camera) for machine in machines):
            lines[camera.name] = (
                f"it stays on {there.node}, which is not of site {camera.site}: no machine of that "
                "site runs"
            )
        elif not machines:
            lines[camera.name] = "no machine runs"
        elif not any(reaches(machine, camera) for machine in machines):
            lines[camera.name] = f"no machine of site {camera.site} runs"
        else:
            lines[camera.name] = "it waits for the coordinator"
    return lines


class _Expected:
    """What the loads of machines would be with more cameras."""

    def __init__(
        self, machines: Sequence[Machine], counts: Mapping[str, int], loads: Mapping[str, float]
    ) -> None:
        self._loads = loads
        self._measured = {each.node: counts.get(each.node, 0) for each in machines}
        measured = [each for each in machines if each.node in loads and self._measured[each.node]]
        n = sum(self._measured[each.node] for each in measured)
        self._cores = sum(loads[each.node] * each.cores for each in measured) / n if n else 0.0

    def load(
        self, machine: Machine, counts: Mapping[str, int], cores: float | None = None
    ) -> float:
        """Return the load of a machine with one camera more than in `counts`; 0 if not measured.

        Args:
            machine: which one.
            counts: cameras of machines.
            cores: that the camera takes; None for the mean of all cameras.
        """
        if machine.node not in self._loads:
            return 0.0
        more = counts.get(machine.node, 0) - self._measured[machine.node]
        added = more * self._cores + (self._cores if cores is None else cores)
        return self._loads[machine.node] + added / machine.cores


def _least(
    machines: Sequence[Machine],
    camera: Wanted,
    counts: Mapping[str, int],
    expected: _Expected,
) -> Machine | None:
    def rank(machine: Machine) -> tuple[float, float, float, str]:
        load = expected.load(machine, counts)
        cameras = (counts.get(machine.node, 0) + 1) / machine.cores
        return (load if load > CALM else 0.0, cameras, machine.load, machine.node)

    reaching = [machine for machine in machines if reaches(machine, camera)]
    return min(reaching, key=rank, default=None)


def _leveled(
    wanted: Sequence[Wanted],
    machines: Sequence[Machine],
    placed: Mapping[str, str],
    counts: Mapping[str, int],
    expected: _Expected,
) -> dict[str, str]:
    """Return one camera to move from a machine with too many; empty if there is none."""
    settled = [
        machine
        for machine in machines
        if machine.age_s >= SETTLED_S and expected.load(machine, counts) <= CALM
    ]
    by_node = {machine.node: machine for machine in machines}
    for camera in reversed(wanted):
        there = by_node.get(placed.get(camera.name, ""))
        target = _least(settled, camera, counts, expected)
        if there is None or target is None or target is there:
            continue
        gained = counts.get(there.node, 0) / there.cores
        if gained - (counts.get(target.node, 0) + 1) / target.cores >= 1 / target.cores:
            return {camera.name: target.node}
    return {}
