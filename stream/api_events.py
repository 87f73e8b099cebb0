"""The HTTP API of events, and what operators ask: health, metrics, and the page's door."""

import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from stream.answers import EventsJson, event_json
from stream.api_cameras import ServiceDep
from stream.frames import EventKind
from stream.inputs import Reference, RowNumber
from stream.security import (
    COOKIE,
    TOO_MANY,
    Attempts,
    Keys,
    Role,
    client_of,
    is_token,
    session_of,
)

router = APIRouter()

SESSION_S = 30 * 24 * 3600


class HealthJson(TypedDict):
    """Whether all is well; the reasons are for those who may ask."""

    status: str
    problems: list[str]
    device: str
    engine: str
    model: str
    is_demo: bool


class AboutJson(TypedDict):
    """What runs here and how long it remembers."""

    device: str
    engine: str
    model: str
    threshold: float
    keep_days: float
    keep_mib: float
    used_mib: float


class SessionJson(TypedDict):
    """Who asks: an admin, a viewer who changes nothing, or nobody known yet."""

    role: str | None


class SignIn(BaseModel):
    """The token."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=1024, repr=False)


@router.get("/api/events")
async def list_events(
    service: ServiceDep,
    cursor: Annotated[RowNumber | None, Query(description="only events older than this")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    camera: Reference | None = None,
    kind: Annotated[list[EventKind] | None, Query()] = None,
    name: Annotated[Reference | None, Query(description="only of this person")] = None,
    after: Annotated[AwareDatetime | None, Query(description="only from this moment on")] = None,
    before: Annotated[AwareDatetime | None, Query(description="only before this moment")] = None,
) -> EventsJson:
    """List events, newest first; `cursor` of the answer asks for the next page."""
    events = await service.run_events(
        service.event_log.list,
        cursor=cursor,
        limit=limit,
        camera=camera,
        kinds=kind or (),
        name=name,
        after=after.timestamp() if after else None,
        before=before.timestamp() if before else None,
    )
    return {
        "events": [event_json(event) for event in events],
        "cursor": events[-1].id if len(events) == limit else None,
    }


@router.get("/api/events/{event_id}/crop.jpg", response_class=Response)
async def event_crop(service: ServiceDep, event_id: RowNumber) -> Response:
    """Return the best shot of an event, 112x112."""
    jpeg = await service.run_events(service.event_log.crop_jpeg, event_id)
    if jpeg is None:
        raise HTTPException(404, "there is no such event, or it has no picture")
    headers = {"cache-control": "private, max-age=3600"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.get("/healthz")
async def health(service: ServiceDep, request: Request, response: Response) -> HealthJson:
    """Say ready, or degraded and why; 503 only where recognition itself has ended."""
    problems = service.problems()
    if not service.is_recognising:
        response.status_code = 503
    return {
        "status": "degraded" if problems else "ready",
        "problems": problems if request.state.role is not None else [],
        "device": service.recognizer.device,
        "engine": service.recognizer.engine,
        "model": service.recognizer.model_id,
        "is_demo": service.is_demo,
    }


@router.get("/api/about")
async def about(service: ServiceDep) -> AboutJson:
    """Say what recognises faces here, from which similarity on, and how long events are kept."""
    log = service.event_log
    return {
        "device": service.recognizer.device,
        "engine": service.recognizer.engine,
        "model": service.recognizer.model_id,
        "threshold": service.threshold,
        "keep_days": log.keep_days,
        "keep_mib": log.keep_bytes / 2**20,
        "used_mib": round(await service.run_events(log.used_bytes) / 2**20, 1),
    }


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the figures for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/session")
async def session(request: Request) -> SessionJson:
    """Say as whom this browser is signed in."""
    return {"role": request.state.role}


@router.post("/api/session", status_code=204)
async def sign_in(request: Request, entry: SignIn) -> Response:
    """Take the token and let this browser in by a cookie that scripts cannot read."""
    keys: Keys = request.app.state.keys
    attempts: Attempts = request.app.state.attempts
    who, now = client_of(request.scope), time.monotonic()
    if not attempts.is_open(who, now):
        raise HTTPException(429, TOO_MANY)
    if keys.admin is None:
        return Response(status_code=204)
    role = keys.role_of(lambda token: is_token(entry.token, token))
    token = {Role.ADMIN: keys.admin, Role.VIEWER: keys.viewer}.get(role) if role else None
    if token is None:
        attempts.failed(who, now)
        raise HTTPException(403, "this is not the token")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        session_of(token),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response
