"""Which machine is to run which camera; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SETTLED_S = 20.0
"""Seconds for which a machine runs before cameras of others are moved to it."""


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
        load: of these, the part in use, 0 to 1.
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


def moves(
    wanted: Sequence[Wanted],
    machines: Sequence[Machine],
    placed: Mapping[str, str],
    *,
    levels: bool = True,
) -> dict[str, str]:
    """Return the cameras to place, and their machines: those that no running machine has.

    Each goes to the machine with the fewest cameras for a core; of equal ones, to the one whose
    cores are used least. If all are placed, and one machine has at least two more than another
    would then have, one camera is moved, since each move interrupts its video for a moment.

    Args:
        wanted: the cameras.
        machines: those that run.
        placed: machines of cameras, also such as do not run.
        levels: whether a camera may be moved although its machine runs.
    """
    running = {machine.node: machine for machine in machines}
    counts = Counter(node for camera, node in placed.items() if node in running)
    found: dict[str, str] = {}
    for camera in wanted:
        there = running.get(placed.get(camera.name, ""))
        if there is not None and reaches(there, camera):
            continue
        target = _least(machines, camera, counts)
        if target is None:
            continue
        if there is not None:
            counts[there.node] -= 1
        counts[target.node] += 1
        found[camera.name] = target.node
    if found or not levels:
        return found
    return _leveled(wanted, machines, placed, counts)


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


def _least(
    machines: Sequence[Machine], camera: Wanted, counts: Mapping[str, int]
) -> Machine | None:
    reaching = [machine for machine in machines if reaches(machine, camera)]
    return min(
        reaching,
        key=lambda each: ((counts.get(each.node, 0) + 1) / each.cores, each.load, each.node),
        default=None,
    )


def _leveled(
    wanted: Sequence[Wanted],
    machines: Sequence[Machine],
    placed: Mapping[str, str],
    counts: Mapping[str, int],
) -> dict[str, str]:
    """Return one camera to move from a machine with too many; empty if there is none."""
    settled = [machine for machine in machines if machine.age_s >= SETTLED_S]
    by_node = {machine.node: machine for machine in machines}
    for camera in reversed(wanted):
        there = by_node.get(placed.get(camera.name, ""))
        target = _least(settled, camera, counts)
        if there is None or target is None or target is there:
            continue
        gained = counts.get(there.node, 0) / there.cores
        if gained - (counts.get(target.node, 0) + 1) / target.cores >= 1 / target.cores:
            return {camera.name: target.node}
    return {}
