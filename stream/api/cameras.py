"""The HTTP API of cameras: their state, their video, and the faces in view."""

from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from stream.api.camera_messages import cameras_json
from stream.api.mjpeg import MjpegStream
from stream.api.publisher import publish
from stream.api.rooms import CamerasDep, ClientDep, NamingDep, PeersDep, ServiceDep, ViewingDep
from stream.budget import Budget
from stream.config import CameraChange, CameraConfig
from stream.errors import CameraExistsError, SignalingError
from stream.ice import IceServersJson
from stream.inputs import PersonName, Reference
from stream.schemas.cameras import CameraJson
from stream.schemas.faces import TracksJson, tracks_json
from stream.schemas.people import IdentityJson, identity_json
from stream.service import Service
from stream.webrtc.peers import Peers

router = APIRouter()

SDP = "application/sdp"


class NewName(BaseModel):
    """The name of a face."""

    model_config = ConfigDict(extra="forbid")

    name: PersonName
    force: StrictBool = Field(
        False, description="enroll even if the face looks like another person, such as a twin"
    )


@router.get("/api/cameras")
async def list_cameras(service: ServiceDep, client: ClientDep) -> list[CameraJson]:
    """Return the state and settings of every camera, behind its own those of other machines."""
    return cameras_json(service.cameras.statuses(), service.front, is_admin=client.is_admin)


@router.get("/api/cameras/{camera}")
async def show_camera(service: ServiceDep, client: ClientDep, camera: Reference) -> CameraJson:
    """Return the state and settings of a camera."""
    return _camera(service, camera, is_admin=client.is_admin)


@router.post("/api/cameras", status_code=201)
async def add_camera(
    service: ServiceDep,
    request: Request,
    camera: Annotated[CameraConfig, Body()],
    response: Response,
) -> CameraJson:
    """Start a camera, and keep it for the next start of the service.

    `{"name": "door", "url": "rtsp://user:password@192.0.2.7/live"}`, and any of the settings that
    `change_camera` takes. 409 where the name is taken, 400 where the URL is of no known kind, 422
    where a value is out of range.
    """
    _refuse_others(service, camera.name)
    await service.cameras.add(camera)
    response.headers["location"] = f"{request.state.prefix}/api/cameras/{camera.name}"
    return _camera(service, camera.name)


@router.patch("/api/cameras/{camera}")
async def change_camera(service: ServiceDep, camera: Reference, change: CameraChange) -> CameraJson:
    """Change settings of a camera at once, and keep them; those not named stay.

    Any of: `name`; `url`; `rtsp_transport`, "tcp" or "udp"; `loop` (true or false, of files);
    `target_fps`, above 0 to 120, or null for the camera's own; `min_face_px`, 12 to 1000, or null
    for the recognizer's; `rotation`, degrees clockwise: 0, 90, 180 or 270; `region`,
    [x1, y1, x2, y2] in 0 to 1 of the rotated frame, or null for all of it; `zones`, all of them,
    such as {"porch": [[0, 0.5], [0.4, 0.5], [0.4, 1], [0, 1]]}; `open_timeout_s` and
    `read_timeout_s`, 1 to 120; `frozen_after_s`, 0 to 3600, 0 for never; `pixel_aspect`, "auto" or
    the width:height of a pixel, such as "16:11"; `deinterlace`, "auto", "on" or "off";
    `verify_tls`, true or false; `enabled`, true or false. With the name its address changes, and
    past events are shown under the new one; 409 where it is taken.

    The answer is the camera, its settings under "settings". A URL that comes back as it was shown,
    `***` for its password, keeps its password. Viewers stay connected. A camera that a browser or
    encoder sends (`is_pushed`) has no URL; its settings are kept for the next time that it is sent.
    """
    config = change.applied_to(service.cameras.get(camera).config)
    if config.name != camera:
        _refuse_others(service, config.name)
    await service.cameras.change(camera, config)
    return _camera(service, config.name)


@router.delete("/api/cameras/{camera}", status_code=204)
async def remove_camera(cameras: CamerasDep, camera: Reference) -> None:
    """Stop and remove a camera, for the next start of the service too."""
    await cameras.remove(camera)


@router.get("/api/cameras/{camera}/snapshot.jpg", response_class=Response)
async def snapshot(
    cameras: CamerasDep,
    camera: Reference,
    width: Annotated[int | None, Query(ge=16, le=8192, description="pixels at most")] = None,
) -> Response:
    """Return the last frame as JPEG, annotated."""
    jpeg = await run_in_threadpool(cameras.get(camera).snapshot, max_width=width)
    if jpeg is None:
        raise _no_frame(camera)
    return Response(jpeg, media_type="image/jpeg")


@router.get("/api/cameras/{camera}/stream.mjpg", include_in_schema=False)  # it has no end
async def stream_mjpeg(
    cameras: CamerasDep,
    client: ClientDep,
    request: Request,
    camera: Reference,
    width: Annotated[int | None, Query(ge=16, le=8192, description="pixels at most")] = None,
    fps: Annotated[float, Query(ge=0.1, le=25, description="frames a second, at most")] = 5.0,
) -> Response:
    """Return the annotated frames as MJPEG, for clients without WebRTC."""
    jpeg = await run_in_threadpool(cameras.get(camera).snapshot, max_width=width)
    if jpeg is None:
        raise _no_frame(camera)
    places: Budget = request.app.state.mjpeg_streams
    return MjpegStream(
        cameras, camera, jpeg, fps=fps, max_width=width, client=client, places=places
    )


@router.get("/api/cameras/{camera}/tracks")
async def tracks(cameras: CamerasDep, camera: Reference) -> TracksJson:
    """Return the faces in the last frame."""
    return tracks_json(camera, cameras.get(camera).latest)


@router.post("/api/cameras/{camera}/tracks/{track_id}/name")
async def name_track(
    naming: NamingDep, camera: Reference, track_id: Reference, new: NewName
) -> IdentityJson:
    """Enroll a face that is in view; it has the name from the next frame on."""
    return identity_json(await naming.name_track(camera, track_id, new.name, force=new.force))


@router.get("/api/ice-servers")
async def ice_servers(peers: PeersDep, response: Response) -> IceServersJson:
    """Return the STUN and TURN servers that a viewer's RTCPeerConnection needs.

    A WHEP or WHIP answer has them in its Link headers, too.
    """
    response.headers["cache-control"] = "no-store"  # they hold credentials
    return peers.ice.to_json()


@router.post("/api/cameras/{camera}/whep", status_code=201, response_class=Response)
async def watch(
    cameras: CamerasDep,
    viewing: ViewingDep,
    peers: PeersDep,
    client: ClientDep,
    camera: Reference,
    request: Request,
    raw: Annotated[
        bool, Query(description="without boxes and names: they go over the data channel tracks")
    ] = False,
    small: Annotated[bool, Query(description="in half the width and height")] = False,
    direct: Annotated[bool, Query(description="from facewire itself, not from the SFU")] = False,
) -> Response:
    """Answer a player's offer (WHEP, without trickle).

    Where an SFU is configured, the video comes from there: `Facewire-Via` says what sends it.
    """
    hub = cameras.get(camera).video.hub
    answer = await viewing.watch(
        await _offer(request), camera, hub, raw=raw, small=small, direct=direct, client=client
    )
    location = f"/api/cameras/{camera}/whep/{answer.peer_id}"
    response = _answered(request, peers, answer.sdp, location)
    response.headers["facewire-via"] = answer.via
    return response


@router.delete("/api/cameras/{camera}/whep/{peer_id}", response_class=Response)
async def stop_watching(viewing: ViewingDep, camera: Reference, peer_id: Reference) -> Response:
    """Close the connection; does nothing where the player is gone already."""
    await viewing.close(peer_id)
    return Response()


@router.post("/api/whip", status_code=201, response_class=Response)
async def send_camera(
    service: ServiceDep,
    client: ClientDep,
    request: Request,
    name: Annotated[Reference, Query(description="the camera's name")] = "whip",
) -> Response:
    """Receive the camera of a browser or encoder (WHIP, without trickle)."""
    answer = await publish(
        service.cameras,
        service.peers,
        service.leaving,
        name,
        await _offer(request),
        is_shown_back=False,
        client=client,
    )
    return _answered(request, service.peers, answer.sdp, f"/api/whip/{answer.peer_id}")


@router.delete("/api/whip/{peer_id}", response_class=Response)
async def stop_sending(peers: PeersDep, peer_id: Reference) -> Response:
    """Close the connection and remove the camera; does nothing where it is gone already."""
    await peers.close(peer_id)
    return Response()


def _camera(service: Service, name: str, *, is_admin: bool = True) -> CameraJson:
    service.cameras.get(name)
    status = next(each for each in service.cameras.statuses() if each.name == name)
    return cameras_json([status], service.front, is_admin=is_admin)[0]


def _refuse_others(service: Service, name: str) -> None:
    """Raise CameraExistsError if another machine that runs has a camera of that name."""
    if service.front is not None:
        owner = service.front.machines.owner_of(name)
        if owner is not None and not owner.is_away:
            raise CameraExistsError(name)


async def _offer(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SDP:
        raise SignalingError(f"the offer must be {SDP}, got {kind or 'no content-type'}")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise SignalingError("the offer is not UTF-8 text") from error


def _answered(request: Request, peers: Peers, sdp: str, location: str) -> Response:
    prefix: str = request.state.prefix
    response = Response(sdp, 201, {"location": f"{prefix}{location}"}, media_type=SDP)
    for link in peers.ice.to_links():
        response.headers.append("link", link)
    return response


def _no_frame(camera: str) -> HTTPException:
    return HTTPException(503, f"camera {camera} has no frame now", {"retry-after": "1"})
