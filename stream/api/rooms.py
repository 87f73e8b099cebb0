"""FastAPI dependencies: the parts of the running service that the routes use.

All are coroutines: FastAPI would run each plain function in a thread.
"""

from typing import Annotated

from fastapi import Depends, Request

from gallery import Gallery
from stream.budget import Client
from stream.cameras.registry import Cameras
from stream.enrollment.doubts import Doubts
from stream.enrollment.gallery_worker import GalleryWorker
from stream.enrollment.naming import Matching
from stream.events.log import EventLog
from stream.events.recorder import Journal
from stream.events.search_worker import SearchWorker
from stream.integrations.push.devices import Devices
from stream.integrations.rules.engine import Rules
from stream.naming import FaceNaming
from stream.recognition.photo_worker import PhotoWorker
from stream.service import Service
from stream.sfu.viewing import Viewing
from stream.visitors.book import VisitorBook
from stream.visitors.changes import VisitorChanges
from stream.webrtc.peers import Peers


async def get_service(request: Request) -> Service:
    """Return the service behind the application."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def get_client(request: Request) -> Client:
    """Return the sender of the request."""
    client: Client = request.state.client
    return client


async def _cameras(service: ServiceDep) -> Cameras:
    return service.cameras


async def _peers(service: ServiceDep) -> Peers:
    return service.peers


async def _viewing(service: ServiceDep) -> Viewing:
    return service.viewing


async def _gallery(service: ServiceDep) -> Gallery:
    return service.gallery


async def _gallery_worker(service: ServiceDep) -> GalleryWorker:
    return service.gallery_worker


async def _photo_worker(service: ServiceDep) -> PhotoWorker:
    return service.photo_worker


async def _matching(service: ServiceDep) -> Matching:
    return service.matching


async def _naming(service: ServiceDep) -> FaceNaming:
    return service.naming


async def _doubts(service: ServiceDep) -> Doubts:
    return service.doubts


async def _event_log(service: ServiceDep) -> EventLog:
    return service.event_log


async def _journal(service: ServiceDep) -> Journal:
    return service.journal


async def _visitors(service: ServiceDep) -> VisitorBook:
    return service.visitors


async def _visitor_changes(service: ServiceDep) -> VisitorChanges:
    return service.visitor_changes


async def _rules(service: ServiceDep) -> Rules:
    return service.rules


async def _devices(service: ServiceDep) -> Devices:
    return service.rules.devices


async def _search(service: ServiceDep) -> SearchWorker:
    return service.search


ClientDep = Annotated[Client, Depends(get_client)]
CamerasDep = Annotated[Cameras, Depends(_cameras)]
PeersDep = Annotated[Peers, Depends(_peers)]
ViewingDep = Annotated[Viewing, Depends(_viewing)]
GalleryDep = Annotated[Gallery, Depends(_gallery)]
GalleryWorkerDep = Annotated[GalleryWorker, Depends(_gallery_worker)]
PhotoWorkerDep = Annotated[PhotoWorker, Depends(_photo_worker)]
MatchingDep = Annotated[Matching, Depends(_matching)]
NamingDep = Annotated[FaceNaming, Depends(_naming)]
DoubtsDep = Annotated[Doubts, Depends(_doubts)]
EventLogDep = Annotated[EventLog, Depends(_event_log)]
SearchDep = Annotated[SearchWorker, Depends(_search)]
RulesDep = Annotated[Rules, Depends(_rules)]
DevicesDep = Annotated[Devices, Depends(_devices)]
JournalDep = Annotated[Journal, Depends(_journal)]
VisitorsDep = Annotated[VisitorBook, Depends(_visitors)]
VisitorChangesDep = Annotated[VisitorChanges, Depends(_visitor_changes)]
