"""Numbers of machines: those that no row of the shared log refers to are given again.

A number is part of the key of each row that its machine writes, and says which machine changed a
row. So it is free once no row has it, and only after a time in which its machine has not come back:
until then, that machine may still hold events that it could not send.
"""

from typing import TYPE_CHECKING

from stream.errors import EventLogError
from stream.events.replica import MAX_NODE, PARTS
from stream.events.shared_visitors import COLUMNS

if TYPE_CHECKING:
    from gallery.postgresql.connections import Statements

UNUSED_S = 86_400.0
"""Silence after which the number of a machine that never had a camera is given again, seconds."""

LOST_S = 90 * 86_400.0
"""The same, of a machine that had cameras."""

_REFERRED = " UNION ".join(
    [f"SELECT node FROM {part} UNION SELECT changed_by FROM {part}" for part in PARTS]
    + [f"SELECT changed_by FROM {each}" for each in ("erased", *COLUMNS, "visitors_erased")]
)


def give(statements: "Statements", name: str, session: str) -> int:
    """Register another machine, and return its number.

    Args:
        statements: of a transaction that holds the lock of the log.
        name: of the machine.
        session: id of its process.

    Raises:
        EventLogError: if all numbers are taken.
    """
    ((last,),) = statements.execute("SELECT coalesce(max(node), 0) FROM nodes").fetchall()
    if last < MAX_NODE:
        statements.execute(
            "INSERT INTO nodes (node, name, session, seen) OVERRIDING SYSTEM VALUE "
            "VALUES (?, ?, ?, server_now())",
            (last + 1, name, session),
        )
        # an older version numbers machines by it
        statements.execute(
            "SELECT setval(pg_get_serial_sequence('facewire.nodes', 'node'), ?)", (last + 1,)
        )
        return int(last) + 1
    node = _free(statements)
    # What its former machine saw as the owner of a camera is refused from now on.
    statements.execute("DELETE FROM assignments WHERE node = ?", (node,))
    statements.execute("DELETE FROM machines WHERE node = ?", (node,))
    statements.execute(
        "UPDATE nodes SET name = ?, session = ?, seen = server_now() WHERE node = ?",
        (name, session, node),
    )
    return node


def _free(statements: "Statements") -> int:
    """Return the number of the machine that is silent for longest and left nothing behind."""
    ((cluster,),) = statements.execute(
        "SELECT to_regclass('facewire.cluster_nodes') IS NOT NULL"
    ).fetchall()
    known = "SELECT number FROM facewire.cluster_nodes" if cluster else "SELECT 0"
    found = statements.execute(
        "SELECT node FROM nodes WHERE (seen < server_now() - ? OR (seen < server_now() - ? "
        "AND node NOT IN (SELECT node FROM assignments))) "
        f"AND node NOT IN ({_REFERRED}) AND node NOT IN ({known}) ORDER BY seen LIMIT 1",
        (LOST_S, UNUSED_S),
    ).fetchone()
    if found is None:
        raise EventLogError(
            f"all {MAX_NODE:,} numbers of machines are taken: keep each machine's data directory, "
            "which holds its number, on a volume, and forget machines of a cluster that do not "
            "come back (facewire cluster nodes --forget NAME); a number is free again when the "
            "events of its machine are erased"
        )
    return int(found[0])
