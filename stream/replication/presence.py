"""What the machines on one database say of themselves: their address, and their cameras' states.

Who owns a camera is in the table `assignments`, which `SharedLog` keeps; here it is only read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream.replication.visitor_tables import ASSIGNING

if TYPE_CHECKING:
    from gallery.postgresql.connections import Statements


@dataclass(frozen=True, slots=True)
class Presence:
    """What a machine says of itself.

    Attributes:
        url: address under which the others reach it.
        version: of its program.
        state: JSON, see `stream.front.machines`; without secrets.
    """

    url: str
    version: str
    state: str


@dataclass(frozen=True, slots=True)
class Neighbor:
    """What another machine said of itself.

    Attributes:
        node: its number.
        name: its name.
        presence: what it said last.
        seen_s: seconds since it said that, by the database's clock.
        owned: the cameras that it owns.
    """

    node: int
    name: str
    presence: Presence
    seen_s: float
    owned: frozenset[str]


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a machine knows after it has said what it is.

    Attributes:
        node: its own number.
        secret: what all machines on the database know, for calls between them.
        ahead_s: seconds by which the database's clock is ahead of this machine's.
        neighbors: the others, by their numbers.
    """

    node: int
    secret: str = field(repr=False)
    ahead_s: float
    neighbors: Sequence[Neighbor]


def meet(
    statements: "Statements", node: int, presence: Presence, *, ahead_s: float, since_s: float
) -> Meeting:
    """Publish what a machine says of itself, and read what the others said; in a transaction.

    Args:
        statements: on the database.
        node: number of the machine.
        presence: what it says.
        ahead_s: seconds by which the database's clock is ahead.
        since_s: machines without a sign for longer than that are not returned, seconds.
    """
    statements.execute(
        "INSERT INTO machines (node, url, version, state, said) "
        "VALUES (?, ?, ?, ?, server_now()) ON CONFLICT (node) DO UPDATE SET url = excluded.url, "
        "version = excluded.version, state = excluded.state, said = excluded.said",
        (node, presence.url, presence.version, presence.state),
    )
    ((secret,),) = statements.execute("SELECT secret FROM event_log").fetchall()
    owned: dict[int, set[str]] = {}
    for owner, camera in statements.execute(
        "SELECT node, camera FROM assignments WHERE ended IS NULL AND camera <> ?", (ASSIGNING,)
    ):
        owned.setdefault(int(owner), set()).add(str(camera))
    rows = statements.execute(
        "SELECT node, name, url, version, state, server_now() - said "
        "FROM machines JOIN nodes USING (node) "
        "WHERE node <> ? AND said > server_now() - ? ORDER BY node",
        (node, since_s),
    ).fetchall()
    neighbors = [
        Neighbor(
            int(number),
            str(name),
            Presence(str(url), str(version), str(state)),
            float(seen_s),
            frozenset(owned.get(int(number), ())),
        )
        for number, name, url, version, state, seen_s in rows
    ]
    return Meeting(node, str(secret), ahead_s, neighbors)


def leave(statements: "Statements", node: int) -> None:
    """Say that a machine runs no longer."""
    statements.execute("DELETE FROM machines WHERE node = ?", (node,))
