"""Wanted cameras, machines and placements in PostgreSQL."""

import json
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gallery.postgresql.connections import Statements, database_errors
from stream.cluster.placing import Machine, Wanted
from stream.cluster.schema import CHANNEL, MIGRATIONS, PART
from stream.config import CameraConfig
from stream.replication import schema as events
from stream.replication.connection import SharedConnection

SILENCE_S = 5.0
"""How long a server that does not answer is waited for, seconds."""

DEAD_S = 4.0
"""Seconds without a sign of a machine, or of the coordinator, after which it counts as dead."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A camera that a machine is to run.

    Attributes:
        camera: its name.
        settings: as stored, see `CameraConfig`.
        generation: of its placement.
    """

    camera: str
    settings: Mapping[str, Any]
    generation: int


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a machine.

    Attributes:
        machine: how it is placed on.
        silent_s: seconds since its last sign; None once it was stopped or found dead.
    """

    machine: Machine
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a camera is to run.

    Attributes:
        node: the machine.
        generation: of the placement.
        since_s: seconds since it was placed there.
    """

    node: str
    generation: int
    since_s: float


@dataclass(frozen=True, slots=True)
class State:
    """The cluster at one moment.

    Attributes:
        wanted: cameras, in the order in which they were added.
        nodes: machines, by name.
        placements: by camera.
        coordinator: id of the coordinator and the machine on which it runs; empty without one.
        coordinator_silent_s: seconds since its last sign.
    """

    wanted: tuple[Wanted, ...]
    nodes: tuple[Node, ...]
    placements: Mapping[str, Placement]
    coordinator: tuple[str, str]
    coordinator_silent_s: float

    @property
    def running(self) -> list[Machine]:
        """The machines that have given a sign lately."""
        return [
            node.machine
            for node in self.nodes
            if node.silent_s is not None and node.silent_s < DEAD_S
        ]

    @property
    def placed(self) -> dict[str, str]:
        """The machine of each placed camera."""
        return {camera: each.node for camera, each in self.placements.items()}


class ClusterDatabase(SharedConnection):
    """The cluster's tables; for one thread at a time.

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
    """

    TABLES = ((events.PART, events.MIGRATIONS), (PART, MIGRATIONS))
    CHANNEL = CHANNEL

    def __init__(self, address: str) -> None:
        super().__init__(address, silence_s=SILENCE_S)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a change of the cluster; return whether one was announced."""
        if self._connection is None:
            time.sleep(timeout_s)
            return True
        with database_errors(self.where):
            found = self._announced()
            if not found and select.select([self._connection.fileno()], [], [], timeout_s)[0]:
                found = self._announced()
            return found

    # Wanted cameras

    def want(self, camera: CameraConfig, site: str | None, *, node: str | None = None) -> bool:
        """Store a new camera; return False if there is one of its name.

        Args:
            camera: its settings.
            site: name of the site whose machines reach it; None for all.
            node: a machine on which it is placed at once; None to leave that to the coordinator.
        """
        with self._writing() as statements:
            added = statements.execute(
                "INSERT INTO wanted_cameras (name, settings, site) VALUES (?, ?::jsonb, ?) "
                "ON CONFLICT DO NOTHING",
                (camera.name, _document(camera), site),
            ).rowcount
            if added and node is not None:
                self._place(statements, camera.name, node)
        return bool(added)

    def change(self, name: str, camera: CameraConfig) -> bool:
        """Store other settings of a camera, and its new name; return False if there is none."""
        with self._writing() as statements:
            changed = statements.execute(
                "UPDATE wanted_cameras SET name = ?, settings = ?::jsonb, revision = revision + 1 "
                "WHERE name = ?",
                (camera.name, _document(camera), name),
            ).rowcount
            if changed and camera.name != name:
                statements.execute(
                    "UPDATE assignments SET camera = ? WHERE camera = ? AND ended IS NULL",
                    (camera.name, name),
                )
        return bool(changed)

    def unwant(self, name: str) -> bool:
        """Remove a camera; return False if there is none of that name."""
        with self._writing() as statements:
            removed = statements.execute(
                "DELETE FROM wanted_cameras WHERE name = ?", (name,)
            ).rowcount
            if removed:
                self._end(statements, name)
        return bool(removed)

    # Machines

    def announce(self, number: int, machine: Machine) -> bool:
        """Say that a machine runs; return False if another process runs as that machine.

        Args:
            number: of this machine in the shared event log.
            machine: its name, site and load.
        """
        with self._reading() as statements:
            return bool(
                statements.execute(
                    "INSERT INTO cluster_nodes AS held "
                    "(node, number, site, cores, load, since, seen) "
                    "VALUES (?, ?, ?, ?, ?, server_now() - ?, server_now()) "
                    "ON CONFLICT (node) DO UPDATE SET number = excluded.number, "
                    "site = excluded.site, cores = excluded.cores, load = excluded.load, "
                    "since = excluded.since, seen = excluded.seen "
                    "WHERE held.number = excluded.number OR held.seen < server_now() - ?",
                    (
                        *(machine.node, number, machine.site, machine.cores, machine.load),
                        *(machine.age_s, DEAD_S),
                    ),
                ).rowcount
            )

    def gone(self, node: str) -> None:
        """Say that a machine runs no longer: its cameras may be placed elsewhere at once."""
        with self._reading() as statements:
            statements.execute("UPDATE cluster_nodes SET seen = 0 WHERE node = ?", (node,))
            statements.execute(f"NOTIFY {CHANNEL}")

    def forget(self, node: str) -> bool:
        """Remove a machine that runs no longer; return False if it runs or is not known."""
        with self._writing() as statements:
            known = statements.execute(
                "SELECT number FROM cluster_nodes WHERE node = ? AND seen < server_now() - ?",
                (node, DEAD_S),
            ).fetchone()
            if known is None:
                return False
            # Its number is free once its events are erased: see `stream.replication.numbers`.
            statements.execute(
                "UPDATE nodes SET seen = 0 WHERE node = ? AND seen < server_now() - ?",
                (*known, DEAD_S),
            )
            statements.execute("DELETE FROM placements WHERE node = ?", (node,))
            statements.execute("DELETE FROM cluster_nodes WHERE node = ?", (node,))
        return True

    # Placements

    def state(self) -> State:
        """Return the whole cluster."""
        with self._reading(is_snapshot=True) as statements:
            wanted = statements.execute(
                "SELECT name, site FROM wanted_cameras ORDER BY position"
            ).fetchall()
            nodes = statements.execute(
                "SELECT node, site, cores, load, server_now() - since, "
                "CASE WHEN seen > 0 THEN server_now() - seen END FROM cluster_nodes ORDER BY node"
            ).fetchall()
            placements = statements.execute(
                "SELECT camera, node, generation, server_now() - placed_at FROM placements"
            ).fetchall()
            coordinator = statements.execute(
                "SELECT holder, node, server_now() - seen FROM coordinator"
            ).fetchone()
        return State(
            tuple(Wanted(*row) for row in wanted),
            tuple(Node(Machine(*row[:5]), row[5]) for row in nodes),
            {str(row[0]): Placement(str(row[1]), int(row[2]), float(row[3])) for row in placements},
            ("", "") if coordinator is None else (str(coordinator[0]), str(coordinator[1])),
            float("inf") if coordinator is None else float(coordinator[2]),
        )

    def coordinate(self, holder: str, node: str) -> bool:
        """Say that a coordinator runs; return whether it is the one that places cameras.

        Another one takes its place once it has given no sign for `DEAD_S`.
        """
        with self._reading() as statements:
            return bool(
                statements.execute(
                    "INSERT INTO coordinator AS held (holder, node, seen) "
                    "VALUES (?, ?, server_now()) ON CONFLICT (is_only) DO UPDATE "
                    "SET holder = excluded.holder, node = excluded.node, seen = excluded.seen "
                    "WHERE held.holder = excluded.holder OR held.seen < server_now() - ?",
                    (holder, node, DEAD_S),
                ).rowcount
            )

    def place(self, holder: str, moves: Mapping[str, str]) -> dict[str, int]:
        """Place cameras on machines; return the generation of each.

        From then on, nothing that a former machine sees on them is stored.

        Args:
            holder: of the coordinator; another one's placements are not made.
            moves: machines by camera.
        """
        with self._writing() as statements:
            if not statements.execute(
                "SELECT 1 FROM coordinator WHERE holder = ?", (holder,)
            ).fetchone():
                return {}
            placed = {
                camera: self._place(statements, camera, node)
                for camera, node in sorted(moves.items())
            }
        return {camera: generation for camera, generation in placed.items() if generation}

    def renew(self, node: str, number: int) -> None:
        """Take new generations of a machine's cameras that it had before its service started."""
        held = (
            "SELECT camera FROM placements WHERE node = ? AND NOT EXISTS (SELECT 1 FROM "
            "assignments WHERE assignments.generation = placements.generation "
            "AND assignments.node = ? AND ended IS NULL)"
        )
        with self._reading() as statements:
            if not statements.execute(held, (node, number)).fetchall():
                return
        with self._writing() as statements:
            for (camera,) in statements.execute(held, (node, number)).fetchall():
                self._place(statements, str(camera), node)

    def placed_on(self, node: str, number: int) -> tuple[list[Placed], frozenset[str]]:
        """Return the cameras that a machine holds, and the names of all that are wanted."""
        with self._reading(is_snapshot=True) as statements:
            rows = statements.execute(
                "SELECT name, settings, placements.generation FROM wanted_cameras "
                "JOIN placements ON placements.camera = name "
                "JOIN assignments ON assignments.generation = placements.generation "
                "WHERE placements.node = ? AND assignments.node = ? AND ended IS NULL "
                "ORDER BY position",
                (node, number),
            ).fetchall()
            names = statements.execute("SELECT name FROM wanted_cameras").fetchall()
        placed = [Placed(str(row[0]), dict(row[1]), int(row[2])) for row in rows]
        return placed, frozenset(str(row[0]) for row in names)

    def _place(self, statements: Statements, camera: str, node: str) -> int:
        """Place a camera; return its generation, 0 if camera or machine is not known."""
        known = statements.execute(
            "SELECT number FROM cluster_nodes, wanted_cameras WHERE node = ? AND name = ?",
            (node, camera),
        ).fetchone()
        if known is None:
            return 0
        self._end(statements, camera)
        row = statements.execute(
            "INSERT INTO assignments (camera, node, began) VALUES (?, ?, server_now()) "
            "RETURNING generation",
            (camera, known[0]),
        ).fetchone()
        assert row is not None
        statements.execute(
            "INSERT INTO placements (camera, node, generation, placed_at) "
            "VALUES (?, ?, ?, server_now()) ON CONFLICT (camera) DO UPDATE SET "
            "node = excluded.node, generation = excluded.generation, "
            "placed_at = excluded.placed_at",
            (camera, node, row[0]),
        )
        return int(row[0])

    def _end(self, statements: Statements, camera: str) -> None:
        statements.execute(
            "UPDATE assignments SET ended = server_now() WHERE ended IS NULL AND camera = ?",
            (camera,),
        )


def _document(camera: CameraConfig) -> str:
    return json.dumps(camera.model_dump(mode="json", exclude_unset=True))
