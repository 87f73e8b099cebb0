"""CompreFace's examples: photos of people."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated

import cv2
from fastapi import APIRouter, Query, Response
from starlette.requests import Request

from gallery import Gallery, Identity, Photo, UnknownIdentityError, clean_name
from stream.api.compreface.requests import (
    MAX_INT,
    NEEDS_KEY,
    CompreFaceRoute,
    MinScore,
    RefusedError,
    no_face,
    no_image,
    no_subject,
    photo_body,
    sent_photos,
)
from stream.api.rooms import (
    DoubtsDep,
    EventLogDep,
    GalleryDep,
    GalleryWorkerDep,
    JournalDep,
    PhotoWorkerDep,
)
from stream.enrollment.crops import Enrolled
from stream.enrollment.enrollment import enroll_images, upload_item
from stream.enrollment.photo_checks import EnrolLimits, Reason
from stream.inputs import Text
from stream.integrations.compreface.answers import (
    example_json,
)
from stream.integrations.compreface.image_ids import photo_id_of
from stream.schemas.compreface import (
    DeletedJson,
    ExampleJson,
    ExamplesJson,
)

router = APIRouter(route_class=CompreFaceRoute)

MAX_PAGE = 2_000  # photos in one answer, as Spring has it


class OctetStream(Response):
    """A file."""

    media_type = "application/octet-stream"


@router.post(
    "/recognition/faces", status_code=201, openapi_extra={**photo_body("file"), **NEEDS_KEY}
)
async def add_example(
    request: Request,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    photo_worker: PhotoWorkerDep,
    doubts: DoubtsDep,
    subject: Annotated[Text, Query(min_length=1, max_length=1000)],
    det_prob_threshold: MinScore = None,
) -> ExampleJson:
    """Add a photo of a person, who need not be known before.

    A photo that the person has already is not added again: the answer is that one.
    """
    name = clean_name(subject)
    (photo,) = await sent_photos(request, "file")
    known = await worker.read(gallery.people.named, name)
    limits = EnrolLimits()
    if det_prob_threshold is not None:
        limits = replace(limits, min_score=det_prob_threshold)
    identity_id = None if known is None else known.identity_id
    enroll = partial(
        enroll_images,
        gallery=gallery,
        items=[upload_item(photo.name, name, photo.data, identity_id=identity_id)],
        limits=limits,
        doubts=doubts,
    )
    (outcome,) = (await photo_worker.run(enroll)).outcomes
    if isinstance(outcome, Enrolled):
        await worker.notify()
        known = outcome.identity
    elif outcome.reason is Reason.SEVERAL_FACES:
        raise RefusedError(31, f"More than one face in the source image: {outcome.detail}")
    elif outcome.reason is Reason.NO_FACE:
        raise no_face()
    elif outcome.reason is Reason.UNREADABLE and not photo.has_known_extension:
        raise RefusedError(21, f"File [{photo.name}] has an unavailable extension")
    elif outcome.reason is not Reason.DUPLICATE:
        raise no_face(outcome.detail)
    elif known is None:  # another request added the photo meanwhile
        known = await worker.read(gallery.people.named, name)
    source = hashlib.sha256(photo.data).hexdigest()
    for held, person in await worker.read(gallery.photos.of_source, source):
        if known is not None and held.identity_id == known.identity_id:
            return example_json(held, person)
    raise no_subject(name)  # erased meanwhile


@router.get("/recognition/faces", openapi_extra=NEEDS_KEY)
async def list_examples(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    page: Annotated[int, Query(ge=0, le=MAX_INT, description="number of the page, from 0")] = 0,
    size: Annotated[
        int, Query(ge=1, le=MAX_INT, description="photos of a page, at most 2000")
    ] = 20,
    subject: Annotated[
        Text | None, Query(max_length=1000, description="only this person's")
    ] = None,
) -> ExamplesJson:
    """List photos, oldest first."""
    size = min(size, MAX_PAGE)
    found, total = await worker.read(partial(_page, gallery, page, size, subject or None))
    return {
        "faces": [example_json(photo, name) for photo, name in found],
        "page_number": page,
        "page_size": size,
        "total_pages": -(-total // size),
        "total_elements": total,
    }


@router.delete("/recognition/faces", openapi_extra=NEEDS_KEY)
async def remove_examples(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    subject: Annotated[Text | None, Query(max_length=1000, description="only this person")] = None,
) -> DeletedJson:
    """Erase a person with all photos, or everybody."""
    if subject:  # the Python package's delete_all() sends "?subject="
        found = await worker.read(gallery.people.named, subject)
        people = [] if found is None else [found]
    else:
        people = [each.identity for each in await worker.read(gallery.people.summaries)]
    n_deleted = 0
    for each in people:
        with suppress(UnknownIdentityError):  # erased meanwhile
            n_deleted += await worker.write(partial(_remove_with_count, gallery, each))
    await journal.run(event_log.reconcile)
    return {"deleted": n_deleted}


@router.post("/recognition/faces/delete", openapi_extra=NEEDS_KEY)
async def remove_some_examples(
    gallery: GalleryDep, worker: GalleryWorkerDep, image_ids: list[str]
) -> list[ExampleJson]:
    """Erase some photos; ids without a photo are ignored."""
    removed = []
    for image_id in image_ids:
        example = await worker.write(partial(_remove_photo, gallery, image_id))
        if example is not None:
            removed.append(example)
    return removed


@router.delete("/recognition/faces/{image_id}", openapi_extra=NEEDS_KEY)
async def remove_example(
    gallery: GalleryDep, worker: GalleryWorkerDep, image_id: Text
) -> ExampleJson:
    """Erase a photo; its person stays, even without photos."""
    example = await worker.write(partial(_remove_photo, gallery, image_id))
    if example is None:
        raise no_image(image_id)
    return example


@router.get(
    "/recognition/faces/{image_id}/img", response_class=OctetStream, openapi_extra=NEEDS_KEY
)
async def example_image(gallery: GalleryDep, worker: GalleryWorkerDep, image_id: Text) -> Response:
    """Return the aligned face of a photo, 112x112, as PNG; empty if it is not kept.

    The photo itself is not kept.
    """
    photo_id = photo_id_of(image_id)
    crop = None if photo_id is None else await worker.read(gallery.photos.crop, photo_id)
    if crop is None:
        return OctetStream(b"")
    _, data = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return OctetStream(data.tobytes())


def _remove_with_count(gallery: Gallery, person: Identity) -> int:
    n_photos = gallery.photos.page(offset=0, limit=1, of=person.identity_id)[1]
    gallery.people.remove(person.identity_id)
    return n_photos


def _remove_photo(gallery: Gallery, image_id: str) -> ExampleJson | None:
    photo_id = photo_id_of(image_id)
    found = None if photo_id is None else gallery.photos.find(photo_id)
    if found is None:
        return None
    photo, name, _ = found
    gallery.photos.remove(photo.photo_id)
    return example_json(photo, name)


def _page(
    gallery: Gallery, page: int, size: int, subject: str | None
) -> tuple[list[tuple[Photo, str]], int]:
    if subject is None:
        return gallery.photos.page(offset=page * size, limit=size)
    person = gallery.people.named(subject)
    if person is None:
        return [], 0
    return gallery.photos.page(offset=page * size, limit=size, of=person.identity_id)
