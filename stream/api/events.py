"""The HTTP API of events, health, metrics, and what the service runs on."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from typing_extensions import TypedDict

from gallery import escaped
from stream.api.cameras import NewName
from stream.api.cluster import machines_json
from stream.api.contract import errors
from stream.api.rooms import EventLogDep, JournalDep, NamingDep, ServiceDep
from stream.api.security import Keys, Role
from stream.frames import EventKind
from stream.inputs import Moment, Reference, RowNumber
from stream.schemas.events import EventsJson, event_json
from stream.schemas.machines import MachineJson
from stream.schemas.people import IdentityJson, identity_json

router = APIRouter()


class HealthJson(TypedDict):
    """Whether all is well; problems, notices and machines are for signed-in clients.

    Problems make the service degraded. Notices do not, such as that past events show people whom
    the gallery does not know. Machines are those that share the database, this one first; empty
    where [cluster] has no url.
    """

    status: str
    problems: list[str]
    notices: list[str]
    machines: list[MachineJson]
    device: str
    engine: str
    model: str
    is_demo: bool


class AboutJson(TypedDict):
    """The model, and how long events are kept."""

    device: str
    engine: str
    model: str
    threshold: float
    keep_days: float
    keep_mib: float
    used_mib: float
    needs_token: bool


@router.get("/api/events")
async def list_events(
    event_log: EventLogDep,
    journal: JournalDep,
    cursor: Annotated[RowNumber | None, Query(description="only events older than this")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    camera: Reference | None = None,
    kind: Annotated[list[EventKind] | None, Query()] = None,
    name: Annotated[
        Reference | None, Query(description="only of this person, or visitor, by name or id")
    ] = None,
    zone: Annotated[
        Reference | None, Query(description="only of stays that had entered this zone by then")
    ] = None,
    after: Annotated[Moment | None, Query(description="only from this moment on")] = None,
    before: Annotated[Moment | None, Query(description="only before this moment")] = None,
) -> EventsJson:
    """List events, newest first; `cursor` of the answer asks for the next page."""
    events = await journal.run(
        event_log.list,
        cursor=cursor,
        limit=limit,
        camera=camera,
        kinds=kind or (),
        name=name,
        zone=zone,
        after=after.timestamp() if after else None,
        before=before.timestamp() if before else None,
    )
    return {
        "events": [event_json(event) for event in events],
        "cursor": events[-1].id if len(events) == limit else None,
    }


@router.get("/api/events/{event_id}/crop.jpg", response_class=Response)
async def event_crop(
    event_log: EventLogDep, journal: JournalDep, event_id: RowNumber, request: Request
) -> Response:
    """Return the best crop of an event, 112x112."""
    jpeg = await journal.run(event_log.crop_jpeg, event_id)
    if jpeg is None:
        raise HTTPException(404, "there is no such event, or it has no crop")
    return _crop_response(jpeg, request)


@router.get("/api/sightings/{sighting_id}/crop.jpg", response_class=Response)
async def sighting_crop(
    event_log: EventLogDep, journal: JournalDep, sighting_id: RowNumber, request: Request
) -> Response:
    """Return the best crop of a sighting, one track of a person, 112x112."""
    jpeg = await journal.run(event_log.sighting_crop, sighting_id)
    if jpeg is None:
        raise HTTPException(404, "there is no such sighting: it may have been erased")
    return _crop_response(jpeg, request)


def _crop_response(jpeg: bytes, request: Request) -> Response:
    # Asked for each time: the person may have been erased, or a new log may count events anew.
    tag = f'"{hashlib.sha256(jpeg).hexdigest()}"'
    headers = {"cache-control": "private, no-cache", "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.post("/api/events/{event_id}/name", responses=errors(404, 409))
async def name_past_event(naming: NamingDep, event_id: RowNumber, new: NewName) -> IdentityJson:
    """Enroll the face of an event; the event and others of its face get the name.

    The crop that was kept is enrolled, with the checks of every photo. `name` may be of somebody
    known already. `force` takes a face that looks like another person's, such as a twin's.
    """
    return identity_json(await naming.name_event(event_id, new.name, force=new.force))


@router.get("/healthz")
async def health(service: ServiceDep, request: Request, response: Response) -> HealthJson:
    """Return ready, or degraded and why; 503 only while recognition itself does not run.

    Viewers see neither the hosts and devices of integrations nor the problems of other machines.
    """
    is_admin = request.state.role == Role.ADMIN
    problems = [escaped(problem) for problem in service.problems(is_admin=is_admin)]
    if not service.is_recognizing:
        response.status_code = 503
    return {
        "status": "degraded" if problems else "ready",
        "problems": problems if request.state.role is not None else [],
        "notices": [escaped(each) for each in service.notices()]
        if request.state.role is not None
        else [],
        "machines": machines_json(service, is_admin=is_admin)
        if request.state.role is not None
        else [],
        "device": service.recognizer.device,
        "engine": service.recognizer.engine,
        "model": service.recognizer.model_id,
        "is_demo": service.is_demo,
    }


@router.get("/api/about")
async def about(service: ServiceDep, request: Request) -> AboutJson:
    """Return the model and its threshold, and how long events are kept."""
    keys: Keys = request.app.state.keys
    log = service.event_log
    return {
        "device": service.recognizer.device,
        "engine": service.recognizer.engine,
        "model": service.recognizer.model_id,
        "threshold": service.matching.threshold,
        "keep_days": log.keep_days,
        "keep_mib": log.keep_bytes / 2**20,
        "used_mib": round(await service.journal.run(log.used_bytes) / 2**20, 1),
        "needs_token": keys.admin is not None,
    }


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the figures for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
