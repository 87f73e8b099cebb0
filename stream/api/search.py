"""The HTTP API of searches over past sightings, and of the past of a new person."""

from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.datastructures import UploadFile

from gallery import Gallery, Identity
from recognizer import Recognizer, decode_photo
from stream.api.rooms import (
    EventLogDep,
    GalleryDep,
    GalleryWorkerDep,
    JournalDep,
    MatchingDep,
    PhotoWorkerDep,
    SearchDep,
)
from stream.enrollment.searched_face import SearchedFace, searched_face
from stream.events.log import LoggedFace
from stream.events.search import Found, SightingReader, SightingSearch
from stream.events.search_index import Filter
from stream.inputs import Moment, Reference, RowNumber
from stream.schemas.people import IdentityJson, identity_json
from stream.schemas.search import PastJson, SearchJson, match_json, search_json

router = APIRouter()

Floats = NDArray[np.float32]

MAX_MATCHES = 1_000

REQUEST: dict[str, JsonValue] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "a photo; its largest face is searched for",
                        }
                    },
                }
            },
            "application/json": {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "required": ["event_id"],
                            "properties": {
                                "event_id": {
                                    "type": "integer",
                                    "minimum": 1,
                                    "maximum": 2**53 - 1,
                                    "description": "the face of an event",
                                }
                            },
                            "additionalProperties": False,
                        },
                        {
                            "type": "object",
                            "required": ["identity_id"],
                            "properties": {
                                "identity_id": {
                                    "type": "string",
                                    "minLength": 1,
                                    "maxLength": 1000,
                                    "description": "a person, by all photos",
                                }
                            },
                            "additionalProperties": False,
                        },
                        {
                            "type": "object",
                            "required": ["visitor_id"],
                            "properties": {
                                "visitor_id": {
                                    "type": "string",
                                    "minLength": 1,
                                    "maxLength": 1000,
                                    "description": "an unknown visitor, by all sightings",
                                }
                            },
                            "additionalProperties": False,
                        },
                    ]
                }
            },
        },
    }
}


class Wanted(BaseModel):
    """Whose face is searched for: one of the three."""

    model_config = ConfigDict(extra="forbid")

    event_id: Annotated[RowNumber, Field(strict=True)] | None = None
    identity_id: Reference | None = None
    visitor_id: Reference | None = None


class Accepted(BaseModel):
    """Which past events show the person."""

    model_config = ConfigDict(extra="forbid")

    event_ids: (
        Annotated[
            list[Annotated[RowNumber, Field(strict=True)]],
            Field(min_length=1, max_length=MAX_MATCHES),
        ]
        | None
    ) = Field(None, description="those of the answer before; null for all of it")


@router.post("/api/search", openapi_extra=REQUEST)
async def search_sightings(
    request: Request,
    search: SearchDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    limit: Annotated[int, Query(ge=1, le=MAX_MATCHES, description="matches at most")] = 20,
    min_similarity: Annotated[
        float | None,
        Query(ge=-1, le=1, description="cosine; the threshold of a match if absent"),
    ] = None,
    camera: Annotated[Reference | None, Query(description="only of this camera")] = None,
    after: Annotated[Moment | None, Query(description="only from this moment on")] = None,
    before: Annotated[Moment | None, Query(description="only before this moment")] = None,
) -> SearchJson:
    """Find when and where a face was seen before, most similar first.

    The face is that of an uploaded photo (the largest, and nothing of the photo is kept), of an
    event, of a person, or of an unknown visitor.
    """
    face: SearchedFace | None = None
    wanted = await _wanted(request)
    if isinstance(wanted, bytes):
        face = await photo_worker.run(partial(_face_in, data=wanted))
        if face is None:
            raise HTTPException(422, "there is no face in the photo: send one that shows a face")
        probes = face.probe
    elif wanted.event_id is not None:
        probes = await search.read(SightingReader.of_event, wanted.event_id)
        if not len(probes):
            stored = await journal.run(event_log.face, wanted.event_id)
            if stored is None:
                raise HTTPException(
                    422, f"event {wanted.event_id} has no crop of a face: search by another event"
                )
            probes = await photo_worker.run(partial(_embedding, face=stored))
    elif wanted.identity_id is not None:
        identity = await worker.read(gallery.people.find, wanted.identity_id)
        probes = await worker.read(gallery.photos.embeddings, identity.identity_id)
        if not len(probes):
            raise HTTPException(422, "the person has no photos: add one, or search by a photo")
    else:
        assert wanted.visitor_id is not None
        probes = await search.read(SightingReader.of_visitor, wanted.visitor_id)
        if not len(probes):
            raise HTTPException(404, "there is no such visitor, or none of its sightings is kept")
    await journal.run(event_log.reconcile)
    matches = await search.run(
        SightingSearch.find,
        probes,
        limit=limit,
        min_similarity=matching.threshold if min_similarity is None else min_similarity,
        only=Filter(
            camera=camera,
            after=after.timestamp() if after else None,
            before=before.timestamp() if before else None,
        ),
    )
    return search_json(face, matches)


@router.get("/api/identities/{identity_id}/past")
async def show_past(
    search: SearchDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    event_log: EventLogDep,
    journal: JournalDep,
    identity_id: Reference,
) -> PastJson:
    """List past stays of strangers who look like a person, most similar first.

    Nothing is changed: POST to the same address gives them the name.
    """
    identity = await worker.read(gallery.people.find, identity_id)
    await journal.run(event_log.reconcile)
    matches = await _past(search, gallery, worker, matching, identity)
    return {
        "count": len(matches),
        "since": min((each.event.at for each in matches), default=None),
        "matches": [match_json(each) for each in matches],
    }


@router.post("/api/identities/{identity_id}/past")
async def accept_past(
    search: SearchDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    event_log: EventLogDep,
    journal: JournalDep,
    identity_id: Reference,
    accepted: Accepted,
) -> IdentityJson:
    """Give past stays of strangers the name of a person; their photos are not enrolled."""
    identity = await worker.read(gallery.people.find, identity_id)
    await journal.run(event_log.reconcile)
    matches = await _past(search, gallery, worker, matching, identity)
    found = [each.event.id for each in matches]
    wanted = found if accepted.event_ids is None else accepted.event_ids
    if unlike := sorted(set(wanted) - set(found)):
        raise HTTPException(
            409, f"event {unlike[0]} is not of a stranger who looks like {identity.name}"
        )
    await journal.run(event_log.name_events, wanted, identity)
    return identity_json(identity)


async def _past(
    search: SearchDep,
    gallery: Gallery,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    identity: Identity,
) -> list[Found]:
    probes = await worker.read(gallery.photos.embeddings, identity.identity_id)
    if not len(probes):
        return []
    return await search.run(
        SightingSearch.find_strangers,
        probes,
        identity_id=identity.identity_id,
        limit=MAX_MATCHES,
        min_similarity=matching.threshold,
    )


async def _wanted(request: Request) -> Wanted | bytes:
    """Return what the request searches for, or the file of a photo."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise HTTPException(422, "file: a photo is needed")
            return await file.read()
    if kind != "application/json":
        raise HTTPException(
            422, "send a photo as multipart/form-data, or an id as application/json"
        )
    try:
        wanted = Wanted.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        ) from error
    if len(wanted.model_dump(exclude_none=True)) != 1:
        raise HTTPException(422, "give one of event_id, identity_id and visitor_id")
    return wanted


def _face_in(recognizer: Recognizer, data: bytes) -> SearchedFace | None:
    return searched_face(recognizer, decode_photo(data, name="the photo"))


def _embedding(recognizer: Recognizer, face: LoggedFace) -> Floats:
    if face.embedding is not None and face.model_id == recognizer.model_id:
        return face.embedding[np.newaxis]
    return recognizer.embed(face.crop[np.newaxis])
