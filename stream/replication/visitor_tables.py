"""The visitors of all machines in PostgreSQL: what one machine writes there, and reads from others.

The machine that assigns sightings to visitors is the owner of `ASSIGNING` in the table of
assignments, as a camera has one: its generation is checked in each transaction that writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.events.shared_visitors import COLUMNS, KEYS, SOURCES, Changes, Row

if TYPE_CHECKING:
    from gallery.postgresql.connections import Statements

ASSIGNING = "visitors*"
"""What the assigning machine owns; no camera has such a name."""

AHEAD = 20
"""Numbers of new visitors that are reserved for the assigning machine. So many may be left out when
it is killed."""

KEEP_REQUESTS_S = 3600.0
"""Seconds after which a request that nobody waits for is erased."""


@dataclass(frozen=True, slots=True)
class Assigner:
    """The machine that assigned last.

    Attributes:
        node: its number.
        name: its name.
        generation: in which it does.
        is_live: whether it does so now, and has given a sign lately.
    """

    node: int
    name: str
    generation: int
    is_live: bool


def assigner(statements: "Statements", lease_s: float) -> Assigner | None:
    """Return the machine that assigned last; None if none ever did.

    Args:
        statements: on the database.
        lease_s: seconds without a sign after which another one may assign.
    """
    row = statements.execute(
        "SELECT nodes.node, name, generation, ended IS NULL AND seen > server_now() - ? "
        "FROM assignments JOIN nodes ON nodes.node = assignments.node "
        "WHERE camera = ? ORDER BY generation DESC LIMIT 1",
        (lease_s, ASSIGNING),
    ).fetchone()
    return None if row is None else Assigner(int(row[0]), str(row[1]), int(row[2]), bool(row[3]))


def others_keep(statements: "Statements", node: int, lease_s: float) -> bool:
    """Return whether another machine keeps visitors, and has given a sign lately."""
    row = statements.execute(
        "SELECT 1 FROM nodes WHERE has_visitors AND node <> ? AND seen > server_now() - ? LIMIT 1",
        (node, lease_s),
    ).fetchone()
    return row is not None


def is_assigner(statements: "Statements", node: int, generation: int) -> bool:
    """Return whether a machine still assigns, in a transaction that writes."""
    row = statements.execute(
        "SELECT 1 FROM assignments WHERE generation = ? AND camera = ? AND node = ? "
        "AND ended IS NULL",
        (generation, ASSIGNING, node),
    ).fetchone()
    return row is not None


def reserve(statements: "Statements", number: int, bound: int | None) -> tuple[int | None, int]:
    """Reserve numbers for the next visitors of the assigning machine.

    Args:
        statements: on the database, in a transaction that writes.
        number: of its next visitor.
        bound: the first number that it had not reserved; None if another machine assigned since.

    Returns:
        The first number to go on with, None for `number`; and the first that is not reserved.
    """
    ((following,),) = statements.execute("SELECT next FROM visitor_numbers").fetchall()
    first = None if following == bound else int(following)
    until = (number if first is None else first) + AHEAD
    until = max(until, int(following))
    if until > following:
        statements.execute("UPDATE visitor_numbers SET next = ?", (until,))
    return first, until


def give_back(statements: "Statements", number: int, bound: int) -> None:
    """Reserve no numbers from one on any more."""
    statements.execute("UPDATE visitor_numbers SET next = ? WHERE next = ?", (number, bound))


def write(statements: "Statements", node: int, changes: Changes) -> None:
    """Write what the assigning machine changed; twice has the effect of once."""
    for part, rows in changes.rows.items():
        if rows:
            statements.executemany(_upsert(part), [(*row, node) for row in rows])
    for part, one, other in changes.erased:
        key = (one, other)[: len(KEYS[part])]
        where = " AND ".join(f"{each} = ?" for each in KEYS[part])
        statements.execute(f"DELETE FROM {part} WHERE {where}", key)
        statements.execute(
            "INSERT INTO visitors_erased (part, one, other, changed_by) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (part, one, other) DO UPDATE SET changed_by = excluded.changed_by",
            (part, one, other, node),
        )


def news(statements: "Statements", after: int, *, but: int) -> tuple[int, Changes] | None:
    """Return all changes of visitors after a revision, and the last of their revisions.

    Args:
        statements: on the database, of one snapshot.
        after: the revision.
        but: a machine of which changes are left out; 0 for none.

    Returns:
        None if nothing was changed.
    """
    oldest = " UNION ALL ".join(
        f"SELECT max(revision) FROM {table}" for table in (*COLUMNS, "visitors_erased")
    )
    ((last,),) = statements.execute(f"SELECT max(max) FROM ({oldest}) AS each").fetchall()
    if last is None or last <= after:
        return None
    where = "WHERE revision > ? AND changed_by <> ? ORDER BY revision"
    rows = {
        part: statements.execute(
            f"SELECT {', '.join(columns)} FROM {part} {where}", (after, but)
        ).fetchall()
        for part, columns in COLUMNS.items()
    }
    erased = statements.execute(
        f"SELECT part, one, other FROM visitors_erased {where}", (after, but)
    ).fetchall()
    # A pair may have been stored again after its erasure.
    held = {
        (part, *row[:2]) for part in ("visitors_apart", "visitor_proposals") for row in rows[part]
    }
    return int(last), Changes(rows, [each for each in erased if each not in held])


def of_rows(statements: "Statements", keys: dict[str, list[int]]) -> Changes:
    """Return whose some sightings and events are.

    Args:
        statements: on the database.
        keys: of sightings and events, by their table.
    """
    return Changes(
        {
            part: statements.execute(
                f"SELECT {', '.join(COLUMNS[part])} FROM {part} WHERE id = ANY(?)",
                (keys.get(table, []),),
            ).fetchall()
            for part, table in SOURCES.items()
        },
        (),
    )


def bring(statements: "Statements", node: int, own: Changes) -> int:
    """Add the visitors of a machine that had its own before; return how many.

    They get the next numbers. Who is there already is left out, and so is what of them.
    """
    ids = [row[1] for row in own.rows["visitors"]]
    known = {
        str(each)
        for (each,) in statements.execute(
            "SELECT visitor_id FROM visitors WHERE visitor_id = ANY(?)", (ids,)
        )
    }
    new = [row for row in own.rows["visitors"] if row[1] not in known]
    if not new:
        return 0
    ((first,),) = statements.execute("SELECT next FROM visitor_numbers").fetchall()
    numbers = {row[0]: int(first) + n for n, row in enumerate(sorted(new))}
    if first == 1:  # the first of all: its visitors stay as they are
        numbers = {number: number for number in numbers}
    at = {each: COLUMNS["visitors"].index(each) for each in ("number", "root", "merged_into")}

    def moved(row: Row) -> Row:
        values = list(row)
        for column in at.values():
            values[column] = numbers.get(row[column])
        values[at["root"]] = values[at["root"]] or values[at["number"]]
        return tuple(values)

    def pairs(part: str) -> Sequence[Row]:
        found = []
        for one, other, *rest in own.rows[part]:
            if one in numbers and other in numbers:
                found.append((*sorted((numbers[one], numbers[other])), *rest))
        return found

    ids_new = {row[1] for row in new}
    rows: dict[str, Sequence[Row]] = {
        "visitors": [moved(row) for row in new],
        "visitors_apart": pairs("visitors_apart"),
        "visitor_proposals": [],  # found again when they come again
        **{part: [row for row in own.rows[part] if row[1] in ids_new] for part in SOURCES},
    }
    for part, each in rows.items():
        if each:
            statements.executemany(
                _upsert(part).partition(" DO UPDATE")[0] + " DO NOTHING",
                [(*row, node) for row in each],
            )
    statements.execute(
        "UPDATE visitor_numbers SET next = greatest(next, ?)", (max(numbers.values()) + 1,)
    )
    return len(new)


def expire(statements: "Statements") -> None:
    """Erase what belongs to nothing any more."""
    for part, table in SOURCES.items():
        statements.execute(
            f"DELETE FROM {part} WHERE NOT EXISTS (SELECT 1 FROM {table} "
            f"WHERE {table}.id = {part}.id) AND revision < "
            "(SELECT last_value - 10000 FROM event_revisions)"
        )
    statements.execute(
        "DELETE FROM visitor_requests WHERE asked < server_now() - ?", (KEEP_REQUESTS_S,)
    )


# Requests of machines to the one that assigns


def ask(statements: "Statements", node: int, request: str) -> int:
    """Store a request to the assigning machine; return its number."""
    ((number,),) = statements.execute(
        "INSERT INTO visitor_requests (node, request) VALUES (?, ?) RETURNING id", (node, request)
    ).fetchall()
    return int(number)


def has_requests(statements: "Statements", generation: int) -> bool:
    """Return whether there are requests that were not taken in a generation."""
    row = statements.execute(
        "SELECT 1 FROM visitor_requests WHERE answer IS NULL "
        "AND generation IS DISTINCT FROM ? LIMIT 1",
        (generation,),
    ).fetchone()
    return row is not None


def take_requests(statements: "Statements", generation: int) -> list[tuple[int, str]]:
    """Return the requests that are not carried out, each once in a generation."""
    rows = statements.execute(
        "UPDATE visitor_requests SET generation = ? WHERE answer IS NULL "
        "AND generation IS DISTINCT FROM ? RETURNING id, request",
        (generation, generation),
    ).fetchall()
    return sorted((int(number), str(request)) for number, request in rows)


def answer(statements: "Statements", answers: Sequence[tuple[int, str]]) -> None:
    """Store the answers to requests, by their number."""
    for number, text in answers:
        statements.execute("UPDATE visitor_requests SET answer = ? WHERE id = ?", (text, number))


def take_answers(statements: "Statements", numbers: Sequence[int]) -> dict[int, str]:
    """Return the answers to some requests, which are erased."""
    rows = statements.execute(
        "DELETE FROM visitor_requests WHERE id = ANY(?) AND answer IS NOT NULL "
        "RETURNING id, answer",
        (list(numbers),),
    ).fetchall()
    return {int(number): str(text) for number, text in rows}


def withdraw(statements: "Statements", number: int) -> bool:
    """Erase a request that is not taken; return whether it was so."""
    return bool(
        statements.execute(
            "DELETE FROM visitor_requests WHERE id = ? AND generation IS NULL", (number,)
        ).rowcount
    )


def _upsert(part: str) -> str:
    columns = (*COLUMNS[part], "changed_by")
    changed = ", ".join(f"{each} = excluded.{each}" for each in columns if each not in KEYS[part])
    return (
        f"INSERT INTO {part} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT ({', '.join(KEYS[part])}) DO UPDATE SET {changed}"
    )
