"""CompreFace's subjects: people."""

from contextlib import suppress
from functools import partial

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictStr

from gallery import Gallery, Identity, UnknownIdentityError, clean_name
from gallery.errors import NameTakenError
from stream.api.compreface.requests import (
    NEEDS_KEY,
    CompreFaceRoute,
    RefusedError,
    no_subject,
)
from stream.api.rooms import (
    EventLogDep,
    GalleryDep,
    GalleryWorkerDep,
    JournalDep,
)
from stream.inputs import Text
from stream.schemas.compreface import (
    DeletedJson,
    SubjectJson,
    SubjectsJson,
    UpdatedJson,
)

router = APIRouter(route_class=CompreFaceRoute)

MAX_SUBJECT = 50  # characters, of a subject that is added or renamed here
FORBIDDEN = ";/\\"


class SubjectName(BaseModel):
    """The name of a person."""

    subject: StrictStr = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_SUBJECT})


@router.post("/recognition/subjects", status_code=201, openapi_extra=NEEDS_KEY)
async def add_subject(
    gallery: GalleryDep, worker: GalleryWorkerDep, body: SubjectName
) -> SubjectJson:
    """Add a person, without photos."""
    name = _checked_name(body.subject)
    return {"subject": (await worker.write(partial(_add_person, gallery, name))).name}


@router.get("/recognition/subjects/", include_in_schema=False)
@router.get("/recognition/subjects", openapi_extra=NEEDS_KEY)
async def list_subjects(gallery: GalleryDep, worker: GalleryWorkerDep) -> SubjectsJson:
    """List all people by name."""
    people = await worker.read(gallery.people.summaries)
    return {"subjects": [each.identity.name for each in people]}


@router.put("/recognition/subjects/{subject:path}", openapi_extra=NEEDS_KEY)
async def rename_subject(
    gallery: GalleryDep, worker: GalleryWorkerDep, subject: Text, body: SubjectName
) -> UpdatedJson:
    """Rename a person; somebody who has the new name gets all photos."""
    name = _checked_name(body.subject)
    await worker.write(partial(_rename_or_merge, gallery, _required(subject), name))
    return {"updated": True}


@router.delete("/recognition/subjects/{subject:path}", openapi_extra=NEEDS_KEY)
async def remove_subject(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    subject: Text,
) -> SubjectJson:
    """Erase a person with all photos and past events."""
    removed = await worker.write(partial(_remove_person, gallery, _required(subject)))
    await journal.run(event_log.reconcile)
    return {"subject": removed.name}


@router.delete("/recognition/subjects", openapi_extra=NEEDS_KEY)
async def remove_all_subjects(
    gallery: GalleryDep, worker: GalleryWorkerDep, event_log: EventLogDep, journal: JournalDep
) -> DeletedJson:
    """Erase everybody."""
    people = await worker.read(gallery.people.summaries)
    for each in people:
        with suppress(UnknownIdentityError):  # erased meanwhile
            await worker.write(gallery.people.remove, each.identity.identity_id)
    await journal.run(event_log.reconcile)
    return {"deleted": len(people)}


def _required(subject: str) -> str:
    # CompreFace takes such a path for that of all people; nobody meant that.
    if not subject:
        raise RefusedError(35, "Required path variable subject is missing")
    return subject


def _checked_name(name: str) -> str:
    if not name.strip():
        raise RefusedError(26, "Subject name cannot be empty;")
    if len(name) > MAX_SUBJECT:
        raise RefusedError(26, f"Subject name size must be between 1 and {MAX_SUBJECT};")
    if any(each in name for each in FORBIDDEN):
        raise RefusedError(36, "Subject name must not contain any of ; / \\")
    return clean_name(name)


def _named(gallery: Gallery, subject: str) -> Identity:
    found = gallery.people.named(subject)
    if found is None:
        raise no_subject(subject)
    return found


def _add_person(gallery: Gallery, name: str) -> Identity:
    if gallery.people.named(name) is not None:
        raise RefusedError(43, "Subject already exists")
    return gallery.photos.add(name, [])[0]


def _rename_or_merge(gallery: Gallery, subject: str, name: str) -> None:
    person = _named(gallery, subject)
    try:
        gallery.people.rename(person.identity_id, name)
    except NameTakenError:
        gallery.people.merge(person.identity_id, _named(gallery, name).identity_id)


def _remove_person(gallery: Gallery, subject: str) -> Identity:
    person = _named(gallery, subject)
    gallery.people.remove(person.identity_id)
    return person
