"""The HTTP API of people: who is known, their photos, and who is in a picture."""

from functools import partial
from typing import Annotated

import cv2
import numpy as np
from fastapi import APIRouter, File, Form, HTTPException, Response, UploadFile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gallery import Gallery, Identity, Photo, UnknownIdentityError
from recognizer import Recognizer, decode_photo
from stream.answers import (
    EnrolJson,
    IdentifiedJson,
    IdentityJson,
    PersonJson,
    PhotoJson,
    WholePersonJson,
    enrol_json,
    identified_json,
    identity_json,
    person_json,
    photo_json,
)
from stream.api_cameras import ServiceDep
from stream.engine import Service
from stream.enrolment import EnrolItem, enroll_images, upload_item
from stream.inputs import PersonName, Reference, RowNumber
from stream.sharing import events_of_other

router = APIRouter()

MAX_PHOTOS = 50  # of one request; more would hold up the cameras for seconds

Photos = Annotated[list[UploadFile], File(description="photos of one person")]


class Change(BaseModel):
    """What is to change about a person."""

    model_config = ConfigDict(extra="forbid")

    name: PersonName | None = Field(None, description="the new name")
    merge_into: Reference | None = Field(
        None, description="the person who gets all photos of this one"
    )


class Split(BaseModel):
    """Which photos are somebody else's."""

    model_config = ConfigDict(extra="forbid")

    photo_ids: list[RowNumber] = Field(min_length=1, max_length=10_000)
    name: PersonName = Field(description="whose they are: somebody new, or known already")


class FromCamera(BaseModel):
    """Who is in view, alone."""

    model_config = ConfigDict(extra="forbid")

    camera: Reference
    name: PersonName


@router.get("/api/identities")
async def list_identities(service: ServiceDep) -> list[PersonJson]:
    """List everybody, by name."""
    summaries = await service.read_people(service.gallery.identities)
    return [person_json(summary) for summary in summaries]


@router.post("/api/identities", status_code=201)
async def add_identity(
    service: ServiceDep,
    name: Annotated[PersonName, Form()],
    photos: Photos,
    response: Response,
) -> EnrolJson:
    """Add photos of a person by name, who need not be known before."""
    answer = await _enroll(service, name, photos)
    if answer["identity"] is None:
        response.status_code = 422
    return answer


@router.post("/api/identities/from-camera", status_code=201)
async def add_from_camera(service: ServiceDep, seen: FromCamera) -> IdentityJson:
    """Add the best shots of the one face that is in view of a camera."""
    result = service.tracks(seen.camera)
    tracks = () if result is None else result.tracks
    if len(tracks) != 1:
        what = "nobody is" if not tracks else f"{len(tracks)} people are"
        raise HTTPException(
            409, f"{what} in view of {seen.camera}: one face alone is needed to enrol {seen.name}"
        )
    return identity_json(await service.name_track(seen.camera, tracks[0].track_id, seen.name))


@router.get("/api/identities/{identity_id}")
async def show_identity(service: ServiceDep, identity_id: Reference) -> WholePersonJson:
    """Describe a person with their photos, and how many events of them there are."""
    identity = await service.read_people(service.gallery.find, identity_id)
    photos = await service.read_people(service.gallery.photos, identity.identity_id)
    return {
        "identity_id": identity.identity_id,
        "name": identity.name,
        "n_events": await service.run_events(service.event_log.count, identity.identity_id),
        "photos": [photo_json(photo) for photo in photos],
    }


@router.patch("/api/identities/{identity_id}")
async def change_identity(
    service: ServiceDep, identity_id: Reference, change: Change
) -> IdentityJson:
    """Rename a person, or merge them into another."""
    if (change.name is None) == (change.merge_into is None):
        raise HTTPException(422, "give either name or merge_into")
    if change.name is not None:
        call = service.change_people(service.gallery.rename, identity_id, change.name)
    else:
        call = service.change_people(
            service.gallery.merge, identity_id, change.merge_into or identity_id
        )
    identity = await call
    return identity_json(identity)


@router.post("/api/identities/{identity_id}/split")
async def split_identity(service: ServiceDep, identity_id: Reference, split: Split) -> IdentityJson:
    """Move some of a person's photos to another, with the past events that show the other."""
    other = await service.change_people(_split, service.gallery, identity_id, split)
    crops = await service.run_events(service.event_log.crops, identity_id)
    find = partial(
        events_of_other,
        gallery=service.gallery,
        crops=crops,
        identity_id=identity_id,
        other_id=other.identity_id,
    )
    events = await service.run_photos(find) if crops else []
    await service.run_events(service.event_log.reassign, events, other)
    return identity_json(other)


@router.delete("/api/identities/{identity_id}", status_code=204)
async def remove_identity(service: ServiceDep, identity_id: Reference) -> None:
    """Erase a person: name, photos, embeddings, and what the event log says of them."""
    await service.change_people(service.gallery.remove, identity_id)
    await service.run_events(service.event_log.settle)  # erased there too before this is answered


@router.get("/api/identities/{identity_id}/photos")
async def list_photos(service: ServiceDep, identity_id: Reference) -> list[PhotoJson]:
    """List a person's photos, oldest first."""
    photos = await service.read_people(_photos_of, service, identity_id)
    return [photo_json(photo) for photo in photos]


@router.post("/api/identities/{identity_id}/photos", status_code=201)
async def add_photos(
    service: ServiceDep, identity_id: Reference, photos: Photos, response: Response
) -> EnrolJson:
    """Add photos of a person who is known already."""
    identity = await service.read_people(service.gallery.store.find, identity_id)
    answer = await _enroll(service, identity.name, photos)
    if not answer["enrolled"]:
        response.status_code = 422
    return answer


@router.get("/api/identities/{identity_id}/photos/{photo_id}.jpg", response_class=Response)
async def photo_crop(service: ServiceDep, identity_id: Reference, photo_id: RowNumber) -> Response:
    """Return the aligned face of a photo, 112x112."""
    crop = await service.read_people(service.gallery.store.crop, photo_id)
    if crop is None:
        raise HTTPException(404, "there is no such photo, or its crop was not kept")
    return Response(_jpeg(crop), media_type="image/jpeg")


@router.get("/api/identities/{identity_id}/photo.jpg", response_class=Response)
async def best_crop(service: ServiceDep, identity_id: Reference) -> Response:
    """Return the aligned face of a person's best photo, 112x112."""
    crop = await service.read_people(_best_crop, service, identity_id)
    if crop is None:
        raise HTTPException(404, "no photo of that person was kept")
    return Response(_jpeg(crop), media_type="image/jpeg")


@router.delete("/api/identities/{identity_id}/photos/{photo_id}", status_code=204)
async def remove_photo(service: ServiceDep, identity_id: Reference, photo_id: RowNumber) -> None:
    """Erase one photo."""
    photos = await service.read_people(_photos_of, service, identity_id)
    if photo_id not in {photo.photo_id for photo in photos}:
        raise UnknownIdentityError(f"there is no photo {photo_id} of that person")
    await service.change_people(service.gallery.remove_photo, photo_id)


@router.post("/api/identify")
async def identify(
    service: ServiceDep, photo: Annotated[UploadFile, File(description="a picture")]
) -> IdentifiedJson:
    """Say who is in a picture; nothing of it is kept."""
    label = photo.filename or "photo"
    data = await photo.read()
    return await service.run_photos(partial(_identify, service, label, data))


def _split(gallery: Gallery, identity_id: str, split: Split) -> Identity:
    try:
        other = gallery.find(split.name)
    except UnknownIdentityError:
        return gallery.split(identity_id, split.photo_ids, split.name)
    return gallery.move(identity_id, split.photo_ids, other.identity_id)


def _photos_of(service: Service, identity_id: str) -> list[Photo]:
    identity = service.gallery.find(identity_id)
    return service.gallery.photos(identity.identity_id)


def _best_crop(service: Service, identity_id: str) -> NDArray[np.uint8] | None:
    photos = [photo for photo in _photos_of(service, identity_id) if photo.has_crop]
    if not photos:
        return None
    best = max(photos, key=lambda photo: photo.quality)
    return service.gallery.store.crop(best.photo_id)


def _identify(service: Service, label: str, data: bytes, recognizer: Recognizer) -> IdentifiedJson:
    photo = decode_photo(data, name=label)
    (faces,) = recognizer.recognize([photo.image], any_way_up=True)
    if not faces:
        return identified_json(label, (), ())
    matches = service.gallery.search(
        np.stack([face.embedding for face in faces]),
        threshold=service.threshold,
        margin=service.margin,
    )
    return identified_json(label, [face.enlarged(photo.scale) for face in faces], matches)


async def _enroll(service: Service, name: str, photos: list[UploadFile]) -> EnrolJson:
    if len(photos) > MAX_PHOTOS:
        raise HTTPException(413, f"at most {MAX_PHOTOS} photos at once, got {len(photos)}")
    items: list[EnrolItem] = [
        upload_item(photo.filename or f"photo {number}", name, await photo.read())
        for number, photo in enumerate(photos, 1)
    ]
    report = await service.run_photos(partial(enroll_images, gallery=service.gallery, items=items))
    if report.enrolled:
        await service.gallery_changed()
    return enrol_json(report)


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return data.tobytes()
