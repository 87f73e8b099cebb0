"""The HTTP API of visitors: unknown people who come again."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from stream.api.cameras import NewName
from stream.api.contract import errors
from stream.api.rooms import JournalDep, NamingDep, VisitorChangesDep, VisitorsDep
from stream.inputs import Reference, RowNumber
from stream.schemas.people import IdentityJson, identity_json
from stream.schemas.visitors import (
    AnsweredJson,
    ErasedVisitorsJson,
    ManyVisitorsJson,
    ProposalsJson,
    VisitorJson,
    VisitorSettingsJson,
    VisitorsJson,
    WholeVisitorJson,
    visitor_json,
    whole_visitor_json,
)

router = APIRouter()


class Body(BaseModel):
    """A request without unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Into(Body):
    """Another visitor."""

    into: Reference = Field(description="the visitor that stays")
    force: StrictBool = Field(
        False,
        description="they are one person although they were in view together, as in a mirror, or "
        "were told apart",
    )


class Merge(Body):
    """A merge."""

    visitor_id: Reference | None = Field(
        None, description="the visitor that was merged; by default the latest one"
    )


class Sightings(Body):
    """Some sightings."""

    sighting_ids: list[RowNumber] = Field(min_length=1, max_length=10_000)


class Ignored(Body):
    """Whether a visitor is ignored."""

    is_ignored: StrictBool


class Answer(Body):
    """Whether two visitors are one person."""

    is_same: StrictBool | None = Field(description="null takes back that they are different people")


class Switch(Body):
    """Whether visitors are kept."""

    enabled: StrictBool


@router.get("/api/visitors")
async def list_visitors(
    book: VisitorsDep,
    journal: JournalDep,
    cursor: Annotated[RowNumber, Query(description="as the answer before gave it")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    camera: Annotated[Reference | None, Query(description="only whom it saw")] = None,
    ignored: Annotated[bool | None, Query(description="only ignored ones, or only others")] = None,
    provisional: Annotated[
        bool | None, Query(description="only those seen too briefly to be sure, or only others")
    ] = None,
    name: Annotated[
        Reference | None, Query(description="only the one called so, such as Visitor 12")
    ] = None,
) -> VisitorsJson:
    """List visitors, the last seen first."""
    found, total = await journal.run(
        book.page,
        cursor=cursor,
        limit=limit,
        camera=camera,
        is_ignored=ignored,
        is_provisional=provisional,
        name=name,
    )
    after = cursor + len(found)
    return {
        "visitors": [visitor_json(visitor) for visitor in found],
        "cursor": after if found and after < total else None,
        "total": total,
        "enabled": book.is_enabled,
    }


@router.delete("/api/visitors")
async def erase_visitors(changes: VisitorChangesDep) -> ErasedVisitorsJson:
    """Erase all visitors with their events, sightings and crops."""
    return {"erased": await changes.erase_all()}


@router.get("/api/visitors/settings")
async def visitor_settings(book: VisitorsDep) -> VisitorSettingsJson:
    """Return whether visitors are kept, and how long."""
    return {"enabled": book.is_enabled, "keep_days": book.keep_days}


@router.put("/api/visitors/settings")
async def switch_visitors(
    book: VisitorsDep, journal: JournalDep, switch: Switch
) -> VisitorSettingsJson:
    """Begin or stop to keep visitors, also after a restart; stopping erases none."""
    await journal.run(book.switch, is_enabled=switch.enabled)
    return {"enabled": book.is_enabled, "keep_days": book.keep_days}


@router.get("/api/visitors/proposals")
async def list_proposals(book: VisitorsDep, journal: JournalDep) -> ProposalsJson:
    """List visitors that may be one person."""
    return {
        "proposals": [
            {
                "proposal_id": number,
                "similarity": round(similarity, 3),
                "visitors": [visitor_json(one), visitor_json(other)],
            }
            for number, similarity, one, other in await journal.run(book.proposals)
        ]
    }


@router.post("/api/visitors/proposals/{proposal_id}", responses=errors(404, 409))
async def answer_proposal(
    changes: VisitorChangesDep, proposal_id: RowNumber, answer: Answer
) -> AnsweredJson:
    """Merge the two visitors of a proposal, or keep them apart.

    Where one is ignored, the merged visitor is, too. Its number stays valid after the answer that
    they are different people, to take that back.
    """
    visitor = await changes.answer(proposal_id, is_same=answer.is_same)
    return {"visitor": None if visitor is None else visitor_json(visitor)}


@router.get("/api/visitors/{visitor_id}")
async def get_visitor(
    book: VisitorsDep, journal: JournalDep, visitor_id: Reference
) -> WholeVisitorJson:
    """Return a visitor with its newest sightings; a merged id answers as the one that stays."""
    visitor = await journal.run(book.get, visitor_id)
    return whole_visitor_json(visitor, await journal.run(book.seen, visitor.visitor_id))


@router.delete("/api/visitors/{visitor_id}", status_code=204)
async def erase_visitor(changes: VisitorChangesDep, visitor_id: Reference) -> None:
    """Erase a visitor with its events, sightings and crops."""
    await changes.erase(visitor_id)


@router.post("/api/visitors/{visitor_id}/name", responses=errors(404, 409))
async def name_visitor(naming: NamingDep, visitor_id: Reference, new: NewName) -> IdentityJson:
    """Enroll a visitor's best crops; its past events and the live video get the name.

    The crops pass the checks of every photo. `name` may be of somebody known already. `force` takes
    a face that looks like another person's, such as a twin's.
    """
    return identity_json(await naming.name_visitor(visitor_id, new.name, force=new.force))


@router.post("/api/visitors/{visitor_id}/merge", responses=errors(404, 409))
async def merge_visitor(
    changes: VisitorChangesDep, visitor_id: Reference, other: Into
) -> VisitorJson:
    """Make two visitors one: `into` stays, and the other's id answers as it.

    The merged visitor is ignored if `into` is. Those that were in view together or were told apart
    are refused with 409, unless by `force`.
    """
    return visitor_json(await changes.merge(visitor_id, other.into, force=other.force))


@router.post("/api/visitors/{visitor_id}/unmerge", responses=errors(404, 409))
async def unmerge_visitor(
    changes: VisitorChangesDep, visitor_id: Reference, merge: Merge | None = None
) -> ManyVisitorsJson:
    """Undo a merge into a visitor: what was seen since goes to the more similar of the two."""
    merged_id = None if merge is None else merge.visitor_id
    both = await changes.unmerge(visitor_id, merged_id)
    return {"visitors": [visitor_json(visitor) for visitor in both]}


@router.post("/api/visitors/{visitor_id}/split", responses=errors(404, 409))
async def split_visitor(
    changes: VisitorChangesDep, visitor_id: Reference, some: Sightings
) -> VisitorJson:
    """Make a new visitor of some sightings that show somebody else."""
    return visitor_json(await changes.split(visitor_id, some.sighting_ids))


@router.post("/api/visitors/{visitor_id}/ignore", responses=errors(404, 409))
async def ignore_visitor(
    changes: VisitorChangesDep, visitor_id: Reference, ignored: Ignored
) -> VisitorJson:
    """Announce a visitor never again on any camera, such as a poster, or as usual again."""
    return visitor_json(await changes.ignore(visitor_id, is_ignored=ignored.is_ignored))
