"""Changes that people make of visitors: here, or on the machine that assigns those of all."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from gallery import Identity
from stream.errors import MachineError, UnknownVisitorError, VisitorError
from stream.events.recorder import Journal
from stream.visitors.book import VisitorBook
from stream.visitors.tables import Merged, Visitor

Ask = Callable[[str], "Future[str]"]
"""Has a request carried out by the machine that assigns; see `stream.replication.visitors`."""


class VisitorChanges:
    """Changes visitors; see the methods of `VisitorBook` of the same names.

    Every method raises MachineError, too, where another machine assigns and does not answer.

    Args:
        book: of this machine.
        journal: runs calls that use the book.

    Attributes:
        ask: asks the machine that assigns; None where the visitors are of this machine alone.
    """

    def __init__(self, book: VisitorBook, journal: Journal) -> None:
        self.ask: Ask | None = None
        self._book = book
        self._journal = journal

    async def name(
        self, visitor_id: str, stays: Sequence[tuple[str, int]], identity: Identity
    ) -> list[tuple[str, str]]:
        """Give a visitor's events to a person; return camera and id of its live tracks."""
        found = await self._change(
            "name",
            visitor_id=visitor_id,
            stays=[list(each) for each in stays],
            identity=[identity.identity_id, identity.name],
        )
        return [(str(camera), str(track_id)) for camera, track_id in found]

    async def merge(self, visitor_id: str, into_id: str, *, force: bool = False) -> Visitor:
        """Make two visitors one."""
        return _visitor(
            await self._change("merge", visitor_id=visitor_id, into_id=into_id, force=force)
        )

    async def unmerge(
        self, visitor_id: str, merged_id: str | None = None
    ) -> tuple[Visitor, Visitor]:
        """Undo a merge into a visitor."""
        one, other = await self._change("unmerge", visitor_id=visitor_id, merged_id=merged_id)
        return _visitor(one), _visitor(other)

    async def split(self, visitor_id: str, sighting_ids: Sequence[int]) -> Visitor:
        """Make a visitor of some sightings of another one."""
        return _visitor(
            await self._change("split", visitor_id=visitor_id, sighting_ids=list(sighting_ids))
        )

    async def ignore(self, visitor_id: str, *, is_ignored: bool) -> Visitor:
        """Announce a visitor never again on any camera, or as usual again."""
        return _visitor(await self._change("ignore", visitor_id=visitor_id, is_ignored=is_ignored))

    async def erase(self, visitor_id: str) -> None:
        """Erase a visitor with its events, sightings and crops."""
        await self._change("erase", visitor_id=visitor_id)

    async def erase_all(self) -> int:
        """Erase all visitors; return how many."""
        return int(await self._change("erase_all"))

    async def answer(self, proposal_id: int, *, is_same: bool | None) -> Visitor | None:
        """Merge the visitors of a proposal, or keep them apart."""
        found = await self._change("answer", proposal_id=proposal_id, is_same=is_same)
        return None if found is None else _visitor(found)

    async def _change(self, what: str, **values: Any) -> Any:
        request = json.dumps({"what": what, "values": values})
        if self.ask is None or self._book.may_change:
            text = await self._journal.run(carry_out, self._book, request)
        else:
            text = await asyncio.wrap_future(self.ask(request))
        answer = json.loads(text)
        if "unknown" in answer:
            raise UnknownVisitorError(answer["unknown"])
        if "refused" in answer:
            raise VisitorError(answer["refused"])
        if "later" in answer:
            raise MachineError(answer["later"])
        return answer["found"]


def carry_out(book: VisitorBook, request: str) -> str:
    """Carry a request out on the machine that assigns, in the journal's thread.

    Args:
        book: of this machine.
        request: JSON, of `VisitorChanges`.

    Returns:
        The answer, JSON.
    """
    asked = json.loads(request)
    what, values = str(asked["what"]), dict(asked["values"])
    if what not in CHANGES:
        return json.dumps({"later": f"this version cannot {what} visitors: upgrade all machines"})
    if "identity" in values:
        values["identity"] = Identity(*values["identity"])
    try:
        if not book.may_change:
            raise MachineError("another machine begins to assign visitors: try again in a moment")
        found = getattr(book, what)(**values)
    except UnknownVisitorError as error:
        return json.dumps({"unknown": error.visitor_id})
    except VisitorError as error:
        return json.dumps({"refused": str(error)})
    except MachineError as error:
        return json.dumps({"later": str(error)})
    if isinstance(found, tuple):
        return json.dumps({"found": [asdict(each) for each in found]})
    return json.dumps({"found": asdict(found) if isinstance(found, Visitor) else found})


CHANGES = frozenset({"name", "merge", "unmerge", "split", "ignore", "erase", "erase_all", "answer"})


def _visitor(found: dict[str, Any]) -> Visitor:
    merged = tuple(Merged(**each) for each in found["merged"])
    return Visitor(**{**found, "cameras": tuple(found["cameras"]), "merged": merged})
