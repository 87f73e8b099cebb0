"""The face API of DeepStack and CodeProject.AI, so that their clients use facewire unchanged.

Paths and fields follow the source of johnolafenwa/DeepStack (server/server.go and
intelligencelayer/shared/face.py). A refusal has `success` false, `error` and `code`, which is the
status as well; only that of a photo without a face is a 200 with code 500, as CodeProject.AI has
it.
"""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from pydantic import JsonValue
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from gallery import Gallery, Target, clean_name
from recognizer import ImageError, Recognizer
from stream.api.dialects import dialect_of, has_text
from stream.api.rooms import (
    DoubtsDep,
    EventLogDep,
    GalleryDep,
    GalleryWorkerDep,
    JournalDep,
    MatchingDep,
    PhotoWorkerDep,
)
from stream.api.security import (
    TOO_MANY,
    VIEWERS_ONLY_LOOK,
    Attempts,
    Keys,
    Role,
    client_of,
    is_token,
)
from stream.enrollment.enrollment import enroll_images, upload_item
from stream.integrations.compreface.faces import Found, FoundFace, Wanted, find_faces
from stream.integrations.compreface.similarity import similarity_of
from stream.recognition.photo_worker import PhotoWorker
from stream.schemas.deepstack import (
    DeepStackErrorJson,
    DeepStackFaceJson,
    DeepStackFacesJson,
    DeepStackMessageJson,
    DeepStackNamesJson,
    DeepStackSimilarityJson,
)

MAX_PHOTOS = 50  # of one request, as of facewire's own

MIN_CONFIDENCE = 0.5
"""Where a client sends none: the threshold of a match."""

NO_FACE = "No face found in image"
UNKNOWN = "unknown"

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": DeepStackErrorJson, "description": "The request or the photo cannot be used."},
    401: {"model": DeepStackErrorJson, "description": "A key is needed, or this is not one."},
    403: {"model": DeepStackErrorJson, "description": "The key is that of viewers."},
    413: {"model": DeepStackErrorJson, "description": "The request is too large."},
    421: {"model": DeepStackErrorJson, "description": "Host header not allowed."},
    422: {"model": DeepStackErrorJson, "description": "The name cannot be used."},
    429: {"model": DeepStackErrorJson, "description": "Too many wrong keys from this address."},
    500: {"model": DeepStackErrorJson, "description": "It failed: see the service's log."},
    503: {"model": DeepStackErrorJson, "description": "Too busy: see Retry-After."},
    507: {"model": DeepStackErrorJson, "description": "The disk is full."},
}


class RefusedError(Exception):
    """A request that is refused.

    Args:
        code: in the answer.
        message: one line.
        status: of HTTP.
    """

    def __init__(self, code: int, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class DeepStackRoute(APIRoute):
    """A route whose refusals have the form of DeepStack."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except RefusedError as error:
                answer = {"success": False, "error": str(error), "code": error.code}
                return JSONResponse(answer, error.status)

        return handle_or_refuse


router = APIRouter(
    prefix="/v1/vision/face",
    route_class=DeepStackRoute,
    tags=["DeepStack"],
    responses=REFUSALS,
)


async def _form(request: Request) -> AsyncIterator[FormData]:
    """Give the form of a request, whose key must be right."""
    if not has_text(request.headers):
        raise RefusedError(400, "the texts of a form must be UTF-8", 400)
    try:
        form = await request.form(max_files=MAX_PHOTOS, max_fields=20)
    except HTTPException as error:
        status = 413 if error.status_code == 413 else 400
        raise RefusedError(status, str(error.detail), status) from error
    try:
        request.state.role = _role_of(request, form)
        yield form
    finally:
        await form.close()


def _role_of(request: Request, form: FormData) -> Role:
    role: Role | None = request.state.role
    if role is not None:  # no key is needed
        return role
    keys: Keys = request.app.state.keys
    shown = str(form.get("api_key") or form.get("admin_key") or "")
    role = keys.role_of(lambda token: is_token(shown, token))
    if role is not None:
        return role
    dialect = dialect_of(request.scope["path"], request.app.state.dialects)
    assert dialect is not None
    dialect.requests.n_refused += 1
    attempts: Attempts = request.app.state.attempts
    if shown and not attempts.failed(client_of(request.scope), time.monotonic()):
        raise RefusedError(429, TOO_MANY, 429)
    raise RefusedError(401, "Incorrect api key" if shown else "api_key is missing", 401)


async def _form_of_admin(request: Request, form: Annotated[FormData, Depends(_form)]) -> FormData:
    if request.state.role is not Role.ADMIN:
        raise RefusedError(403, VIEWERS_ONLY_LOOK, 403)
    return form


FormDep = Annotated[FormData, Depends(_form)]
AdminFormDep = Annotated[FormData, Depends(_form_of_admin)]


def _body(*required: str, **described: str) -> dict[str, JsonValue]:
    """Return the OpenAPI description of a form."""
    photo: dict[str, JsonValue] = {"type": "string", "format": "binary"}
    text: dict[str, JsonValue] = {"type": "string"}
    properties: dict[str, JsonValue] = {
        name: {**(photo if name.startswith("image") else text), "description": meaning}
        for name, meaning in described.items()
    }
    properties["api_key"] = {**text, "description": "the token, where one is needed"}
    schema: JsonValue = {
        "type": "object",
        "required": list(required),
        "properties": properties,
    }
    return {
        "requestBody": {
            "required": bool(required),
            "content": {"multipart/form-data": {"schema": schema}},
        },
        "security": [],
    }


@router.post(
    "",
    openapi_extra=_body(
        "image", image="a photo", min_confidence="least score of the detector, 0 to 1"
    ),
)
async def detect(form: FormDep, photo_worker: PhotoWorkerDep) -> DeepStackFacesJson:
    """Find the faces of a photo."""
    wanted = Wanted(_min_confidence(form, 0.0), with_embeddings=False)
    found = await _find(photo_worker, await _photo(form, "image"), wanted)
    return {
        "success": True,
        "code": 200,
        "predictions": [_face_json(face, face.score) for face in found.faces],
    }


@router.post(
    "/recognize",
    openapi_extra=_body(
        "image",
        image="a photo",
        min_confidence="similarity from which a face has a name, 0 to 1; 0.5 is a match",
    ),
)
async def recognize(
    form: FormDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
) -> DeepStackFacesJson:
    """Return who is in a photo; nothing of it is kept."""
    least = _min_confidence(form, MIN_CONFIDENCE)
    found = await _find(photo_worker, await _photo(form, "image"), Wanted())
    if not found.faces:
        raise RefusedError(500, NO_FACE, 200)
    probes = np.stack([face.embedding for face in found.faces if face.embedding is not None])
    predictions = []
    ranked = await worker.read(gallery.best, probes)
    for face, nearest in zip(found.faces, ranked, strict=True):
        name, confidence = UNKNOWN, 0.0
        if nearest:
            similarity = similarity_of(nearest[0].similarity, matching.threshold)
            if similarity >= least:
                name, confidence = nearest[0].identity.name, similarity
        predictions.append(_face_json(face, confidence, name))
    return {"success": True, "code": 200, "predictions": predictions}


@router.post(
    "/register",
    openapi_extra=_body(
        "userid", "image", userid="name of the person", image="a photo; more with any other names"
    ),
)
async def register(
    form: AdminFormDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    photo_worker: PhotoWorkerDep,
    doubts: DoubtsDep,
) -> DeepStackMessageJson:
    """Add photos of a person, who need not be known before."""
    name = clean_name(_text(form, "userid"))
    photos = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
    if not photos:
        raise RefusedError(400, "image: a photo is needed", 400)
    known = await worker.read(gallery.people.named, name)
    target = Target(name, None if known is None else known.identity_id)
    items = [
        upload_item(
            photo.filename or f"photo {number}",
            name,
            await photo.read(),
            identity_id=target.identity_id,
        )
        for number, photo in enumerate(photos, 1)
    ]
    enroll = partial(enroll_images, gallery=gallery, items=items, doubts=doubts)
    report = await photo_worker.run(enroll)
    if report.enrolled:
        await worker.notify()
    elif report.refused:
        raise RefusedError(400, report.refused[0].detail, 400)
    message = "face added" if known is None else "face updated"
    if report.refused:
        message += f"; {len(report.refused)} photos were not taken: {report.refused[0].detail}"
    return {"success": True, "code": 200, "message": message}


@router.post("/list", openapi_extra=_body())
async def list_people(
    form: FormDep, gallery: GalleryDep, worker: GalleryWorkerDep
) -> DeepStackNamesJson:
    """List all people by name."""
    people = await worker.read(gallery.people.summaries)
    return {"success": True, "code": 200, "faces": [each.identity.name for each in people]}


@router.post("/delete", openapi_extra=_body("userid", userid="name of the person"))
async def delete(
    form: AdminFormDep,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    event_log: EventLogDep,
    journal: JournalDep,
) -> DeepStackMessageJson:
    """Erase a person with all photos and past events; nobody of that name is no error."""
    removed = await worker.write(partial(_remove, gallery, _text(form, "userid")))
    await journal.run(event_log.reconcile)
    message = "face deleted" if removed else "nobody has that name"
    return {"success": True, "code": 200, "message": message}


@router.post("/match", openapi_extra=_body("image1", "image2", image1="a photo", image2="another"))
async def match(
    form: FormDep, matching: MatchingDep, photo_worker: PhotoWorkerDep
) -> DeepStackSimilarityJson:
    """Compare the largest faces of two photos."""
    embeddings: list[NDArray[np.float32] | None] = []
    for _, part in form.multi_items():
        if isinstance(part, UploadFile) and len(embeddings) < 2:
            found = await _find(photo_worker, part, Wanted(limit=1))
            if not found.faces:
                raise RefusedError(500, NO_FACE, 200)
            embeddings.append(found.faces[0].embedding)
    if len(embeddings) < 2:
        raise RefusedError(400, "image1 and image2: two photos are needed", 400)
    cosine = float(np.dot(*np.stack([each for each in embeddings if each is not None])))
    similarity = similarity_of(cosine, matching.limits.pair)
    return {"success": True, "code": 200, "similarity": similarity}


def _remove(gallery: Gallery, name: str) -> bool:
    found = gallery.people.named(name)
    if found is not None:
        gallery.people.remove(found.identity_id)
    return found is not None


async def _find(photo_worker: PhotoWorker, photo: UploadFile, wanted: Wanted) -> Found:
    data, name = await photo.read(), photo.filename or "the photo"

    def find(recognizer: Recognizer) -> Found:
        return find_faces(recognizer, data, name=name, wanted=wanted)

    try:
        return await photo_worker.run(find)
    except ImageError as error:
        raise RefusedError(400, f"invalid image: {error}", 400) from error


async def _photo(form: FormData, name: str) -> UploadFile:
    part = form.get(name)
    if not isinstance(part, UploadFile):
        raise RefusedError(400, f"{name}: a photo is needed", 400)
    return part


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(400, f"{name} is missing", 400)
    return value


def _min_confidence(form: FormData, otherwise: float) -> float:
    given = form.get("min_confidence")
    if given is None or given == "":
        return otherwise
    try:
        value = float(str(given))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise RefusedError(400, "min_confidence must be 0 to 1", 400)
    return value


def _face_json(face: FoundFace, confidence: float, name: str | None = None) -> DeepStackFaceJson:
    x1, y1, x2, y2 = face.box
    answer: DeepStackFaceJson = {
        "confidence": round(confidence, 5),
        "x_min": x1,
        "y_min": y1,
        "x_max": x2,
        "y_max": y2,
    }
    if name is not None:
        answer["userid"] = name
    return answer
