"""What this machine knows of the others on its database, and tells them.

The owner of a camera in the database decides who runs it; `Machines.owner_of` is the one place
that answers that.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from stream.replication.presence import Meeting, Neighbor, Presence
from stream.schemas.cameras import CameraJson
from stream.schemas.machines import MachineJson

AWAY_S = 8.0
"""Seconds without a sign of a machine after which it counts as away; it gives one every two."""


class _State(TypedDict):
    cameras: list[CameraJson]
    problems: list[str]


_STATES: TypeAdapter[_State] = TypeAdapter(_State)


@dataclass(frozen=True, slots=True)
class Machine:
    """Another machine, as it said last.

    Attributes:
        node: its number.
        name: its name.
        url: address under which it is reached.
        version: of its program.
        seen_s: seconds since its last sign, when that was last looked for.
        owned: the cameras that it owns.
        cameras: the states of its cameras.
        problems: its problems, one line each.
        trouble: why it cannot be called, in a few words; empty if it can.
    """

    node: int
    name: str
    url: str
    version: str
    seen_s: float
    owned: frozenset[str]
    cameras: Sequence[CameraJson]
    problems: Sequence[str]
    trouble: str = ""

    @property
    def is_away(self) -> bool:
        """Whether it has given no sign for some time."""
        return self.seen_s > AWAY_S


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of all at one moment."""

    node: int = 0
    secret: str = field(default="", repr=False)
    ahead_s: float = 0.0
    machines: Sequence[Machine] = ()
    owners: dict[str, Machine] = field(default_factory=dict)


class Machines:
    """The other machines; from any thread, `met` from one.

    Args:
        name: of this machine.
        url: address under which the others reach it.
        version: of this program.
        is_own: whether a camera of that name runs here.

    Attributes:
        troubles: why machines cannot be called, by their numbers.
        n_meetings: how often the others' states were read.
        changed: called when a camera of this machine has another state, for the others to know.
    """

    def __init__(self, name: str, url: str, version: str, *, is_own: Callable[[str], bool]) -> None:
        self.name = name
        self.url = url
        self.version = version
        self.troubles: dict[int, str] = {}
        self.n_meetings = 0
        self.changed: Callable[[], None] = lambda: None
        self._is_own = is_own
        self._own: _State | None = None
        self._known = _Known()

    # What this machine tells

    def tell(self, cameras: list[CameraJson], problems: list[str]) -> None:
        """Set the states of this machine's cameras and its problems, for the others."""
        before, self._own = self._own, {"cameras": cameras, "problems": problems}
        if before is not None and _states(before) != _states(self._own):
            self.changed()

    def presence(self) -> Presence | None:
        """Return what this machine says of itself; None before it is known."""
        own = self._own
        if own is None:
            return None
        return Presence(self.url, self.version, json.dumps(own, separators=(",", ":")))

    # What the others tell

    def met(self, meeting: Meeting) -> None:
        """Take what the others said."""
        machines = [_machine(each) for each in meeting.neighbors]
        owners: dict[str, Machine] = {}
        # Of a camera that is turned off nobody is the owner; of two machines, the one that runs.
        for machine in sorted(machines, key=lambda each: each.is_away):
            for camera in machine.cameras:
                owners.setdefault(camera["name"], machine)
        for machine in machines:
            owners.update(dict.fromkeys(machine.owned, machine))
        self._known = _Known(meeting.node, meeting.secret, meeting.ahead_s, machines, owners)
        self.n_meetings += 1  # behind it: who sees another number reads what belongs to it

    @property
    def node(self) -> int:
        """The number of this machine; 0 before it was read."""
        return self._known.node

    @property
    def secret(self) -> str:
        """What all machines on the database know; empty before it was read."""
        return self._known.secret

    @property
    def ahead_s(self) -> float:
        """Seconds by which the database's clock is ahead of this machine's."""
        return self._known.ahead_s

    def all(self) -> list[Machine]:
        """Return the others, by their numbers."""
        return [self._told(each) for each in self._known.machines]

    def away(self, node: int) -> Machine | None:
        """Return another machine if it is away."""
        return next((each for each in self.all() if each.node == node and each.is_away), None)

    def owner_of(self, camera: str) -> Machine | None:
        """Return the other machine that runs a camera now; None if it is this one or nobody."""
        if self._is_own(camera):
            return None
        owner = self._known.owners.get(camera)
        return None if owner is None else self._told(owner)

    def cameras(self, *, is_admin: bool) -> list[CameraJson]:
        """Return the states of the cameras that other machines run, by name.

        Args:
            is_admin: whether for an administrator; others see no URL.
        """
        known = self._known
        found: dict[str, CameraJson] = {}
        for machine in known.machines:
            for camera in machine.cameras:
                name = camera["name"]
                owner = known.owners[name]
                if self._is_own(name) or (owner is not machine and name in found):
                    continue
                found[name] = _shown(camera, owner, is_admin=is_admin, is_said=owner is machine)
        return [found[name] for name in sorted(found)]

    def to_json(self) -> list[MachineJson]:
        """Return all machines, this one first."""
        own = self._own or {"cameras": [], "problems": []}
        return [
            {
                "name": self.name,
                "is_this": True,
                "state": "ok",
                "seen_s": 0.0,
                "version": self.version,
                "cameras": len(own["cameras"]),
                "problems": own["problems"],
            },
            *(_machine_json(each) for each in self.all()),
        ]

    def lines(self, *, is_admin: bool = True) -> list[str]:
        """Return what is wrong with the others, one line each.

        Args:
            is_admin: whether the lines say why a machine cannot be called.
        """
        lines = []
        for each in self.all():
            if each.is_away:
                runs = sorted({camera["name"] for camera in each.cameras} | each.owned)
                runs = [
                    name for name in runs if (of := self.owner_of(name)) and of.node == each.node
                ]
                cameras = f": no video of {', '.join(runs)}" if runs else ""
                lines.append(
                    f"machine {each.name} has not answered for {each.seen_s:.0f} s{cameras}"
                )
            elif each.trouble:
                why = f": {each.trouble}" if is_admin else ""
                lines.append(
                    f"machine {each.name} runs, and cannot be reached at the url of its "
                    f"[cluster]{why}"
                )
        names = Counter([self.name, *(each.name for each in self._known.machines)])
        lines += [
            f"{n} machines are named {name}: set name in [cluster] of each"
            for name, n in sorted(names.items())
            if n > 1
        ]
        return lines

    def _told(self, machine: Machine) -> Machine:
        """Return a machine with why it cannot be called."""
        trouble = self.troubles.get(machine.node, "")
        return replace(machine, trouble=trouble)


def _states(said: _State) -> list[tuple[str, str]]:
    return [(camera["name"], camera["state"]) for camera in said["cameras"]]


def _machine(said: Neighbor) -> Machine:
    state: _State = {"cameras": [], "problems": []}
    try:
        state = _STATES.validate_json(said.presence.state)
    except ValidationError:
        version = said.presence.version
        state["problems"] = [f"it says what this version cannot read: it has facewire {version}"]
    return Machine(
        said.node,
        said.name,
        said.presence.url,
        said.presence.version,
        max(0.0, said.seen_s),
        said.owned,
        state["cameras"],
        state["problems"],
    )


def _shown(camera: CameraJson, machine: Machine, *, is_admin: bool, is_said: bool) -> CameraJson:
    """Return a camera as another machine runs it; `is_said` by that one, not by its former one."""
    shown = camera.copy()
    shown["machine"] = machine.name
    if not is_admin:
        shown["url"] = ""
        shown["settings"] = {**camera["settings"], "url": ""}
    if machine.is_away:
        shown["state"] = "failing"
        shown["since_s"] = round(machine.seen_s, 1)
        shown["reason"] = f"machine {machine.name}, which runs it, does not answer"
        shown["fps_in"] = shown["fps_out"] = shown["latency_p95_ms"] = 0.0
        shown["viewers"] = 0
    elif not is_said:
        shown["state"], shown["since_s"] = "connecting", 0.0
        shown["reason"] = f"machine {machine.name} is about to run it"
    return shown


def _machine_json(machine: Machine) -> MachineJson:
    problems = list(machine.problems)
    if machine.trouble:
        problems.insert(0, f"it cannot be reached at the url of its [cluster]: {machine.trouble}")
    return {
        "name": machine.name,
        "is_this": False,
        "state": "away" if machine.is_away else "unreachable" if machine.trouble else "ok",
        "seen_s": round(machine.seen_s, 1),
        "version": machine.version,
        "cameras": len(machine.cameras),
        "problems": problems,
    }
