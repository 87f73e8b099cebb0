"""The HTTP API of people: who is known, their photos, and who is in a photo."""

from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import cv2
import numpy as np
from fastapi import APIRouter, Depends, File, Form, HTTPException, Query, Response, UploadFile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool

from gallery import Gallery, Identity, Photo, Target, UnknownIdentityError
from recognizer import ImageError, Recognizer, decode_photo
from stream.api.rooms import (
    CamerasDep,
    DoubtsDep,
    EventLogDep,
    GalleryDep,
    GalleryWorkerDep,
    JournalDep,
    MatchingDep,
    NamingDep,
    PhotoWorkerDep,
)
from stream.enrollment.enrollment import enroll_images, upload_item
from stream.enrollment.naming import Matching
from stream.errors import EventLogError
from stream.events.reassign import events_of_other
from stream.inputs import PersonName, Reference, RowNumber, Text
from stream.schemas.faces import IdentifiedJson, identified_json
from stream.schemas.people import (
    EnrolJson,
    IdentityJson,
    PersonJson,
    PhotoJson,
    WholePersonJson,
    enrol_json,
    identity_json,
    person_json,
    photo_json,
)

router = APIRouter()

MAX_PHOTOS = 50  # of one request; more would hold up the cameras for seconds

MAX_LISTED = 1_000  # people in one answer: 100 kB
MAX_CANDIDATES = 20

IS_TEXT: dict[str, JsonValue] = {"type": "string"}
IS_NULL: dict[str, JsonValue] = {"type": "null"}

Photos = Annotated[list[UploadFile], Field(min_length=1), File(description="photos of one person")]
Force = Annotated[
    bool, Form(description="add poor photos and photos that look like another person, too")
]
FaceIndex = Annotated[
    int | None,
    Form(
        ge=0,
        le=1_000,
        description="which face is meant, of those that the refusal of the photo lists; "
        "for one photo only",
    ),
]


class Enrolling:
    """Adds uploaded photos to people, for the routes that take them.

    Args:
        gallery: where to.
        worker: reads it, and names tracks by what was added.
        photo_worker: finds the faces, and writes.
        doubts: remembers who was refused.
    """

    def __init__(
        self,
        gallery: GalleryDep,
        worker: GalleryWorkerDep,
        photo_worker: PhotoWorkerDep,
        doubts: DoubtsDep,
    ) -> None:
        self.gallery = gallery
        self.worker = worker
        self._photo_worker = photo_worker
        self._doubts = doubts

    async def enroll(
        self, target: Target, photos: list[UploadFile], *, force: bool, face: int | None
    ) -> EnrolJson:
        """Add photos to a person; see `enroll_images`."""
        _bound(photos)
        if face is not None and len(photos) != 1:
            raise HTTPException(422, f"face is of one photo, got {len(photos)}: send each alone")
        items = [
            upload_item(
                _label(photo, number),
                target.name,
                await photo.read(),
                identity_id=target.identity_id,
                face=face,
            )
            for number, photo in enumerate(photos, 1)
        ]
        enroll = partial(
            enroll_images,
            gallery=self.gallery,
            items=items,
            force=force,
            doubts=self._doubts,
            list_faces=True,
        )
        report = await self._photo_worker.run(enroll)
        if report.enrolled:
            await self.worker.notify()
        photos_of = []
        if report.identity is not None:
            photos_of = await self.worker.read(self.gallery.photos.of, report.identity.identity_id)
        return enrol_json(report, {photo.source_sha256: photo.photo_id for photo in photos_of})


EnrollingDep = Annotated[Enrolling, Depends()]


class Change(BaseModel):
    """A change of a person: one of the two."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": ["name"], "properties": {"name": IS_TEXT, "merge_into": IS_NULL}},
                {
                    "required": ["merge_into"],
                    "properties": {"merge_into": IS_TEXT, "name": IS_NULL},
                },
            ]
        },
    )

    name: PersonName | None = Field(None, description="the new name")
    merge_into: Reference | None = Field(
        None, description="the person who gets all photos of this one"
    )


class Split(BaseModel):
    """Photos that belong to another person."""

    model_config = ConfigDict(extra="forbid")

    photo_ids: list[RowNumber] = Field(min_length=1, max_length=10_000)
    name: PersonName = Field(description="whose they are: a new name, or somebody known")


class FromCamera(BaseModel):
    """The one person in view of a camera."""

    model_config = ConfigDict(extra="forbid")

    camera: Reference
    name: PersonName
    force: StrictBool = Field(
        False, description="enroll even if the face looks like another person, such as a twin"
    )


@router.get("/api/identities")
async def list_identities(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="people at most")] = MAX_LISTED,
    cursor: Annotated[
        Text | None, Query(max_length=8_000, description="of the answer before")
    ] = None,
    q: Annotated[Text, Query(max_length=200, description="part of the names to be listed")] = "",
) -> list[PersonJson]:
    """List people by name, some at a time.

    The header `X-Total-Count` says how many there are; while there are more, `Link` has the
    address of the next ones as rel="next" (RFC 8288).
    """
    list_some = partial(gallery.people.page, limit=limit, cursor=cursor, search=q)
    try:
        page = await worker.read(list_some)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    response.headers["x-total-count"] = str(page.total)
    if page.cursor is not None:
        query = urlencode({"limit": limit, "q": q, "cursor": page.cursor})
        # relative, so that it holds behind a proxy that shows the service below a path
        response.headers["link"] = f'<identities?{query}>; rel="next"'
    return [person_json(summary) for summary in page.people]


@router.post("/api/identities", status_code=201)
async def add_identity(
    enrolling: EnrollingDep,
    name: Annotated[PersonName, Form()],
    photos: Photos,
    response: Response,
    force: Force = False,
    face: FaceIndex = None,
) -> EnrolJson:
    """Add photos of a person by name, who need not be known before."""
    known = await enrolling.worker.read(enrolling.gallery.people.named, name)
    target = Target(name, None if known is None else known.identity_id)
    answer = await enrolling.enroll(target, photos, force=force, face=face)
    if answer["identity"] is None:
        response.status_code = 422
    return answer


@router.post("/api/identities/from-camera", status_code=201)
async def add_from_camera(cameras: CamerasDep, naming: NamingDep, seen: FromCamera) -> IdentityJson:
    """Enroll the best crops of the one face that is in view of a camera."""
    result = cameras.get(seen.camera).latest
    tracks = () if result is None else result.tracks
    if len(tracks) != 1:
        what = "nobody is" if not tracks else f"{len(tracks)} people are"
        raise HTTPException(
            409,
            f"{what} in view of {seen.camera}: exactly one face is needed to enroll {seen.name}",
        )
    return identity_json(
        await naming.name_track(seen.camera, tracks[0].track_id, seen.name, force=seen.force)
    )


@router.get("/api/identities/{identity_id}")
async def show_identity(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    identity_id: Reference,
) -> WholePersonJson:
    """Describe a person with their photos, and how many events of them there are."""
    identity = await worker.read(gallery.people.find, identity_id)
    photos = await worker.read(gallery.photos.of, identity.identity_id)
    return {
        "identity_id": identity.identity_id,
        "name": identity.name,
        "n_events": await journal.run(event_log.count, identity.identity_id),
        "photos": [photo_json(photo) for photo in photos],
    }


@router.patch("/api/identities/{identity_id}")
async def change_identity(
    gallery: GalleryDep, worker: GalleryWorkerDep, identity_id: Reference, change: Change
) -> IdentityJson:
    """Rename a person, or merge them into another."""
    if (change.name is None) == (change.merge_into is None):
        raise HTTPException(422, "give either name or merge_into")
    if change.name is not None:
        call = partial(gallery.people.rename, identity_id, change.name)
    else:
        call = partial(gallery.people.merge, identity_id, change.merge_into or identity_id)
    return identity_json(await worker.write(call))


@router.post("/api/identities/{identity_id}/split")
async def split_identity(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    photo_worker: PhotoWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    identity_id: Reference,
    split: Split,
) -> IdentityJson:
    """Move some of a person's photos to another, with the past events that show the other."""
    identity_id = (await worker.read(gallery.people.find, identity_id)).identity_id
    other = await worker.write(_split, gallery, identity_id, split)
    crops = await journal.run(event_log.crops, identity_id)
    find = partial(
        events_of_other,
        gallery=gallery,
        crops=crops,
        identity_id=identity_id,
        other_id=other.identity_id,
    )
    events = await photo_worker.run(find) if crops else []
    await journal.run(event_log.reassign, events, other)
    return identity_json(other)


@router.delete("/api/identities/{identity_id}", status_code=204)
async def remove_identity(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
    identity_id: Reference,
) -> None:
    """Erase a person: name, photos, embeddings, and what the event log says of them."""
    await worker.write(gallery.people.remove, identity_id)
    try:
        await journal.run(event_log.reconcile)  # before the answer
    except EventLogError as error:
        raise type(error)(
            "the person is erased; their past events will be, once the event log can be written: "
            f"{error}"
        ) from error


@router.get("/api/identities/{identity_id}/photos")
async def list_photos(
    gallery: GalleryDep, worker: GalleryWorkerDep, identity_id: Reference
) -> list[PhotoJson]:
    """List a person's photos, oldest first."""
    photos = await worker.read(_photos_of, gallery, identity_id)
    return [photo_json(photo) for photo in photos]


@router.post("/api/identities/{identity_id}/photos", status_code=201)
async def add_photos(
    enrolling: EnrollingDep,
    identity_id: Reference,
    photos: Photos,
    response: Response,
    force: Force = False,
    face: FaceIndex = None,
) -> EnrolJson:
    """Add photos of a person who is known already; renamed or merged meanwhile, to them still."""
    identity = await enrolling.worker.read(enrolling.gallery.people.find, identity_id)
    target = Target(identity.name, identity.identity_id)
    answer = await enrolling.enroll(target, photos, force=force, face=face)
    if not answer["enrolled"]:
        response.status_code = 422
    return answer


@router.get("/api/identities/{identity_id}/photos/{photo_id:int}.jpg", response_class=Response)
async def photo_crop(
    gallery: GalleryDep, worker: GalleryWorkerDep, identity_id: Reference, photo_id: RowNumber
) -> Response:
    """Return the aligned face of a photo, 112x112."""
    crop = await worker.read(gallery.photos.crop, photo_id, of=identity_id)
    if crop is None:
        raise HTTPException(404, "there is no such photo of that person, or its crop was not kept")
    return Response(_jpeg(crop), media_type="image/jpeg")


@router.get("/api/identities/{identity_id}/photo.jpg", response_class=Response)
async def best_crop(
    gallery: GalleryDep, worker: GalleryWorkerDep, identity_id: Reference
) -> Response:
    """Return the aligned face of a person's best photo, 112x112."""
    crop = await worker.read(_best_crop, gallery, identity_id)
    if crop is None:
        raise HTTPException(404, "no photo of that person was kept")
    return Response(_jpeg(crop), media_type="image/jpeg")


@router.delete("/api/identities/{identity_id}/photos/{photo_id:int}", status_code=204)
async def remove_photo(
    gallery: GalleryDep, worker: GalleryWorkerDep, identity_id: Reference, photo_id: RowNumber
) -> None:
    """Erase one photo."""
    await worker.write(gallery.photos.remove, photo_id, of=identity_id)


@router.post("/api/identify")
async def identify(
    gallery: GalleryDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
    photo: Annotated[
        list[UploadFile],
        Field(min_length=1),
        File(description="a photo, or several parts of this name"),
    ],
    candidates: Annotated[
        int, Form(ge=0, le=MAX_CANDIDATES, description="most similar people to list for each face")
    ] = 0,
) -> IdentifiedJson | list[IdentifiedJson]:
    """Return who is in a photo; nothing of it is kept.

    For several photos the answer is a list, in their order; one that cannot be read says so in
    `error`, and the others are answered.
    """
    _bound(photo)
    answers = []
    for number, part in enumerate(photo, 1):
        label, data = _label(part, number), await part.read()
        find = partial(_identify, gallery, matching, label, data, candidates)
        try:
            answers.append(await photo_worker.run(find))
        except ImageError as error:
            if len(photo) == 1:
                raise
            answers.append({"image": label, "faces": [], "error": str(error)})
    return answers[0] if len(answers) == 1 else answers


def _split(gallery: Gallery, identity_id: str, split: Split) -> Identity:
    try:
        other = gallery.people.find(split.name)
    except UnknownIdentityError:
        return gallery.photos.split(identity_id, split.photo_ids, split.name)
    return gallery.photos.move(identity_id, split.photo_ids, other.identity_id)


def _photos_of(gallery: Gallery, identity_id: str) -> list[Photo]:
    identity = gallery.people.find(identity_id)
    return gallery.photos.of(identity.identity_id)


def _best_crop(gallery: Gallery, identity_id: str) -> NDArray[np.uint8] | None:
    photos = [photo for photo in _photos_of(gallery, identity_id) if photo.has_crop]
    if not photos:
        return None
    best = max(photos, key=lambda photo: photo.quality)
    return gallery.photos.crop(best.photo_id)


def _identify(
    gallery: Gallery,
    matching: Matching,
    label: str,
    data: bytes,
    n_candidates: int,
    recognizer: Recognizer,
) -> IdentifiedJson:
    photo = decode_photo(data, name=label)
    (faces,) = recognizer.recognize([photo.image], any_way_up=True)
    if not faces:
        return identified_json(label, (), (), ())
    probes = np.stack([face.embedding for face in faces])
    matches = gallery.search(probes, threshold=matching.threshold, margin=matching.margin)
    nearest = gallery.best(probes, k=n_candidates) if n_candidates else [[]] * len(faces)
    shown = [face.enlarged(photo.scale) for face in faces]
    return identified_json(label, shown, matches, nearest, gallery.unsearched())


def _bound(photos: list[UploadFile]) -> None:
    if len(photos) > MAX_PHOTOS:
        raise HTTPException(413, f"at most {MAX_PHOTOS} photos at once, got {len(photos)}")


def _label(photo: UploadFile, number: int) -> str:
    return photo.filename or f"photo {number}"


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return data.tobytes()
