"""The HTTP API of a gallery's state: what harms recognition, and its calibration."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from gallery.calibration import TooFewPairsError, calibrate
from gallery.hygiene import inspect
from stream.api.contract import errors
from stream.api.rooms import GalleryDep, GalleryWorkerDep, MatchingDep
from stream.enrollment.naming import hygiene_limits
from stream.schemas.hygiene import CalibrationJson, HygieneJson, calibration_json, hygiene_json

router = APIRouter()

MAX_FINDINGS = 1_000
"""In one answer: 600 kB."""


@router.get("/api/gallery/hygiene")
async def hygiene(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    limit: Annotated[int, Query(ge=1, le=MAX_FINDINGS, description="findings at most")] = 200,
) -> HygieneJson:
    """List photos unlike their person's others, people who may be one, and poor photos."""
    limits = hygiene_limits(matching.limits, await worker.read(gallery.people.count))
    found = await worker.read(partial(inspect, gallery, limits))
    return hygiene_json(found, gallery.model_id, limit=limit)


@router.get("/api/gallery/calibration", responses=errors(409))
async def calibration(
    gallery: GalleryDep,
    worker: GalleryWorkerDep,
    matching: MatchingDep,
    far: Annotated[
        float, Query(ge=1e-9, le=0.5, allow_inf_nan=False, description="rate of false accepts")
    ] = 1e-3,
) -> CalibrationJson:
    """Measure the threshold for the people enrolled, each photo left out in turn."""
    try:
        result = await worker.read(partial(calibrate, gallery, far=far))
    except TooFewPairsError as error:
        raise HTTPException(409, str(error)) from error
    return calibration_json(result, in_use=matching.threshold)
