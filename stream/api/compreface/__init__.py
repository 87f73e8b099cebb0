"""CompreFace's REST API, so that its clients use facewire unchanged.

Paths, fields, numbers of refusals and their order follow the source of exadel-inc/CompreFace 1.2.
A subject is a person, an example is a photo of a person, and a similarity is on CompreFace's scale:
see `stream.integrations.compreface`.
"""

from fastapi import APIRouter

from stream.api.compreface import examples, faces, subjects
from stream.api.compreface.requests import REFUSALS

router = APIRouter(prefix="/api/v1", tags=["CompreFace"], responses=REFUSALS)
for each in (subjects, examples, faces):
    router.include_router(each.router)
