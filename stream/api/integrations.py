"""The HTTP API of integrations: other programs with which the service works."""

from fastapi import APIRouter, Request

from stream.api.dialects import Dialect
from stream.api.rooms import ClientDep, ServiceDep
from stream.schemas.integrations import IntegrationsJson, integration_json

router = APIRouter()


@router.get("/api/integrations")
async def integrations(
    service: ServiceDep, client: ClientDep, request: Request
) -> IntegrationsJson:
    """List the configured integrations, and whether they work.

    Viewers see neither addresses nor reasons, only that one fails.
    """
    dialects: list[Dialect] = request.app.state.dialects
    found = [*service.integrations(), *(each.requests.status() for each in dialects)]
    return {"integrations": [integration_json(each, is_admin=client.is_admin) for each in found]}
