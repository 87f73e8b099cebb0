"""CompreFace's services: recognition, detection and verification, of photos and embeddings."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.requests import Request

from gallery import Gallery
from recognizer import ImageError, Recognizer
from stream.api.compreface.requests import (
    NEEDS_KEY,
    CompreFaceRoute,
    DetectFaces,
    Embedding,
    FacePlugins,
    Limit,
    MinScore,
    PredictionCount,
    RefusedError,
    SentPhoto,
    Status,
    no_face,
    no_image,
    photo_body,
    plugins_of,
    sent_photos,
)
from stream.api.rooms import (
    GalleryDep,
    GalleryWorkerDep,
    MatchingDep,
    PhotoWorkerDep,
)
from stream.api.security import UPLOAD_BYTES
from stream.inputs import Text
from stream.integrations.compreface.answers import (
    face_json,
    subjects_json,
    versions,
)
from stream.integrations.compreface.faces import Found, Wanted, find_faces
from stream.integrations.compreface.image_ids import photo_id_of
from stream.integrations.compreface.similarity import similarity_of
from stream.recognition.photo_worker import PhotoWorker
from stream.schemas.compreface import (
    ComparedEmbeddingsJson,
    ComparisonJson,
    ComparisonsJson,
    DetectionJson,
    LimitsJson,
    RecognitionJson,
    RecognizedEmbeddingsJson,
    VerificationJson,
)

router = APIRouter(route_class=CompreFaceRoute)

Floats = NDArray[np.float32]

MAX_PREDICTIONS = 100
MAX_EMBEDDINGS = 100


class Embeddings(BaseModel):
    """Embeddings of faces, by this service's model."""

    embeddings: list[Embedding] = Field(min_length=1, max_length=MAX_EMBEDDINGS)


class Targets(BaseModel):
    """An embedding and those it is compared with."""

    source: Embedding
    targets: list[Embedding] = Field(min_length=1, max_length=MAX_EMBEDDINGS)


@router.post(
    "/recognition/recognize",
    response_model_exclude_unset=True,
    openapi_extra={**photo_body("file"), **NEEDS_KEY},
)
async def recognize(
    request: Request,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
    limit: Limit = 0,
    prediction_count: PredictionCount = 1,
    det_prob_threshold: MinScore = None,
    face_plugins: FacePlugins = "",
    status: Status = False,
    detect_faces: DetectFaces = True,
) -> RecognitionJson:
    """Return who is in a photo, of each face the most similar people; nothing of it is kept."""
    (photo,) = await sent_photos(request, "file")
    plugins = plugins_of(face_plugins)
    wanted = Wanted(det_prob_threshold or 0.0, limit, plugins, is_crop=not detect_faces)
    found = await _find(photo_worker, photo, wanted)
    probes = np.stack([face.embedding for face in found.faces if face.embedding is not None])
    k = min(prediction_count, MAX_PREDICTIONS)
    ranked = await worker.read(partial(gallery.best, probes, k=k))
    spent_ms = found.steps.ms if status else None
    answer: RecognitionJson = {
        "result": [
            {
                **face_json(face, plugins, spent_ms),
                "subjects": subjects_json(nearest, matching.threshold),
            }
            for face, nearest in zip(found.faces, ranked, strict=True)
        ]
    }
    if status:
        answer["plugins_versions"] = versions(gallery.model_id, plugins)
    return answer


@router.post(
    "/recognition/faces/{image_id}/verify", openapi_extra={**photo_body("file"), **NEEDS_KEY}
)
async def verify_example(
    request: Request,
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
    image_id: Text,
    limit: Limit = 0,
    det_prob_threshold: MinScore = None,
    face_plugins: FacePlugins = "",
    status: Status = False,
) -> VerificationJson:
    """Compare the faces of a photo with a photo of a person."""
    (photo,) = await sent_photos(request, "file")
    name, embedding = await _example(gallery, worker, image_id)
    plugins = plugins_of(face_plugins)
    found = await _find(photo_worker, photo, Wanted(det_prob_threshold or 0.0, limit, plugins))
    spent_ms = found.steps.ms if status else None
    answer: VerificationJson = {
        "result": [
            {
                **face_json(face, plugins, spent_ms),
                "subject": name,
                "similarity": _similarity(embedding, face.embedding, matching.limits.pair),
            }
            for face in found.faces
        ]
    }
    if status:
        answer["plugins_versions"] = versions(gallery.model_id, plugins)
    return answer


@router.post("/detection/detect", openapi_extra={**photo_body("file"), **NEEDS_KEY})
async def detect(
    request: Request,
    gallery: GalleryDep,
    photo_worker: PhotoWorkerDep,
    limit: Limit = 0,
    det_prob_threshold: MinScore = None,
    face_plugins: FacePlugins = "",
    status: Status = False,
) -> DetectionJson:
    """Find the faces of a photo."""
    (photo,) = await sent_photos(request, "file")
    plugins = plugins_of(face_plugins)
    wanted = Wanted(det_prob_threshold or 0.0, limit, plugins, with_embeddings=False)
    found = await _find(photo_worker, photo, wanted)
    spent_ms = found.steps.ms if status else None
    answer: DetectionJson = {"result": [face_json(each, plugins, spent_ms) for each in found.faces]}
    if status:
        answer["plugins_versions"] = versions(gallery.model_id, plugins)
    return answer


@router.post(
    "/verification/verify",
    openapi_extra={**photo_body("source_image", "target_image"), **NEEDS_KEY},
)
async def verify(
    request: Request,
    gallery: GalleryDep,
    matching: MatchingDep,
    photo_worker: PhotoWorkerDep,
    limit: Limit = 0,
    det_prob_threshold: MinScore = None,
    face_plugins: FacePlugins = "",
    status: Status = False,
) -> ComparisonsJson:
    """Compare the one face of a photo with the faces of another."""
    source, target = await sent_photos(request, "source_image", "target_image")
    plugins, min_score = plugins_of(face_plugins), det_prob_threshold or 0.0
    of_source = await _find(photo_worker, source, Wanted(min_score, 0, plugins))
    if len(of_source.faces) > 1:
        raise RefusedError(31, "More than one face in the source image")
    of_target = await _find(photo_worker, target, Wanted(min_score, limit, plugins))
    face = of_source.faces[0]
    pair: ComparisonJson = {
        "source_image_face": face_json(face, plugins, of_source.steps.ms if status else None),
        "face_matches": [
            {
                **face_json(each, plugins, of_target.steps.ms if status else None),
                "similarity": _similarity(face.embedding, each.embedding, matching.limits.pair),
            }
            for each in of_target.faces
        ],
    }
    if status:
        pair["plugins_versions"] = versions(gallery.model_id, plugins)
    return {"result": [pair]}


@router.post("/recognition/embeddings/recognize", openapi_extra=NEEDS_KEY)
async def recognize_embeddings(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    body: Embeddings,
    prediction_count: PredictionCount = 1,
) -> RecognizedEmbeddingsJson:
    """Return the most similar people of each embedding."""
    probes = _unit(body.embeddings, gallery)
    k = min(prediction_count, MAX_PREDICTIONS)
    ranked = await worker.read(partial(gallery.best, probes, k=k))
    return {
        "result": [
            {"embedding": given, "similarities": subjects_json(nearest, matching.threshold)}
            for given, nearest in zip(body.embeddings, ranked, strict=True)
        ]
    }


@router.post("/recognition/embeddings/faces/{image_id}/verify", openapi_extra=NEEDS_KEY)
async def verify_embeddings_by_example(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    image_id: Text,
    body: Embeddings,
) -> ComparedEmbeddingsJson:
    """Compare embeddings with a photo of a person."""
    _, embedding = await _example(gallery, worker, image_id)
    return _compared(embedding, body.embeddings, gallery, matching.limits.pair)


@router.post("/verification/embeddings/verify", openapi_extra=NEEDS_KEY)
async def verify_embeddings(
    gallery: GalleryDep, matching: MatchingDep, body: Targets
) -> ComparedEmbeddingsJson:
    """Compare an embedding with others."""
    (source,) = _unit([body.source], gallery)
    return _compared(source, body.targets, gallery, matching.limits.pair)


@router.get("/config", openapi_extra={"security": []})
async def limits_of_requests() -> LimitsJson:
    """Return how large photos and requests may be."""
    return {"clientMaxFileSize": UPLOAD_BYTES, "clientMaxBodySize": UPLOAD_BYTES}


async def _example(gallery: Gallery, worker: GalleryWorkerDep, image_id: str) -> tuple[str, Floats]:
    """Return the person's name and the embedding of a photo."""
    photo_id = photo_id_of(image_id)
    found = None if photo_id is None else await worker.read(gallery.photos.find, photo_id)
    if found is None:
        raise no_image(image_id)
    return found[1], found[2]


async def _find(photo_worker: PhotoWorker, photo: SentPhoto, wanted: Wanted) -> Found:
    """Return the faces of a photo; at least one."""

    def find(recognizer: Recognizer) -> Found:
        return find_faces(recognizer, photo.data, name=photo.name, wanted=wanted)

    try:
        found = await photo_worker.run(find)
    except ImageError as error:
        if not photo.has_known_extension:
            raise RefusedError(21, f"File [{photo.name}] has an unavailable extension") from error
        raise no_face(str(error)) from error
    if not found.faces:
        raise no_face()
    return found


def _unit(embeddings: Sequence[Sequence[float]], gallery: Gallery) -> Floats:
    """Return embeddings of a request as (N, D) float32 of unit length."""
    size = gallery.embedding_size
    for each in embeddings:
        if len(each) != size:
            raise RefusedError(
                0, f"an embedding of {gallery.model_id} has {size} numbers, not {len(each)}"
            )
    rows = np.array(embeddings, np.float64)
    with np.errstate(over="ignore"):  # infinite, and refused
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise RefusedError(0, "an embedding must be finite and not zero")
    unit: Floats = (rows / lengths).astype(np.float32)
    return unit


def _similarity(a: Floats | None, b: Floats | None, threshold: float) -> float:
    assert a is not None
    assert b is not None
    return similarity_of(float(a @ b), threshold)


def _compared(
    source: Floats, targets: list[list[float]], gallery: Gallery, threshold: float
) -> ComparedEmbeddingsJson:
    cosines = _unit(targets, gallery) @ source
    return {
        "result": [
            {"embedding": given, "similarity": similarity_of(float(cosine), threshold)}
            for given, cosine in zip(targets, cosines, strict=True)
        ]
    }
