"""The HTTP API of the machines that share a database."""

from urllib.parse import urlsplit

from fastapi import APIRouter

from stream.api.rooms import ClientDep, ServiceDep
from stream.schemas.machines import MachineJson, TargetsJson
from stream.service import Service

router = APIRouter(tags=["cluster"])


def machines_json(service: Service, *, is_admin: bool) -> list[MachineJson]:
    """Return the machines that share the database; empty where [cluster] has no url.

    Args:
        service: of this machine.
        is_admin: whether problems are shown in full; else their number is.
    """
    machines = [] if service.front is None else service.front.machines.to_json()
    if is_admin:
        return machines
    return [{**each, "problems": _numbered(len(each["problems"]))} for each in machines]


def _numbered(n: int) -> list[str]:
    if not n:
        return []
    return [f"{n} problem{'s' * (n > 1)}: administrators see {'them' if n > 1 else 'it'}"]


@router.get("/api/cluster/machines")
async def machines(service: ServiceDep, client: ClientDep) -> list[MachineJson]:
    """Return the machines that share the database, this one first; empty without [cluster]."""
    return machines_json(service, is_admin=client.is_admin)


@router.get("/api/cluster/targets")
async def targets(service: ServiceDep) -> list[TargetsJson]:
    """Return the addresses of all machines' metrics, for http_sd_configs of Prometheus."""
    if service.front is None:
        return []
    known = service.front.machines
    found = [(known.name, known.url), *((each.name, each.url) for each in known.all())]
    return [_target(name, url) for name, url in found]


def _target(name: str, url: str) -> TargetsJson:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return {
        "targets": [f"{host}:{port}"],
        "labels": {
            "machine": name,
            "__scheme__": parts.scheme,
            "__metrics_path__": f"{parts.path}/metrics",
        },
    }
