"""What clients of CompreFace send: photos in two forms, and refusals with its numbers."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, Field, JsonValue
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from gallery import InvalidNameError, UnknownIdentityError
from stream.api.dialects import has_text
from stream.schemas.compreface import CompreFaceErrorJson

EXTENSIONS = frozenset(
    {"tif", "tiff", "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp"}
    | {"heic", "heif", "avif", "jp2", "mpo"}
)
"""Ends of the names of photos: CompreFace's but for `ico`, and of what is read here besides.

An icon is at most 256 pixels wide, and its reader is kept away from uploads, see
`recognizer.photos.formats`.
"""

MAX_INT = 2**31 - 1


class RefusedError(Exception):
    """A request that is refused as CompreFace does.

    Args:
        code: CompreFace's number.
        message: one line.
        status: of HTTP.
    """

    def __init__(self, code: int, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def no_face(message: str = "No face is found in the given image") -> RefusedError:
    """Return the refusal of a photo that cannot be used."""
    return RefusedError(28, message)


def no_subject(name: str) -> RefusedError:
    """Return the refusal of an unknown person."""
    return RefusedError(42, f"Subject {name} not found", HTTPStatus.NOT_FOUND)


def no_image(image_id: str) -> RefusedError:
    """Return the refusal of an unknown photo."""
    return RefusedError(44, f"Image {image_id} not found", HTTPStatus.NOT_FOUND)


class CompreFaceRoute(APIRoute):
    """A route whose refusals have CompreFace's form; what it does not know the application has."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except RefusedError as fault:
                return refusal(fault)
            except InvalidNameError as error:
                return refusal(RefusedError(26, f"{error};"))
            except UnknownIdentityError as error:
                return refusal(RefusedError(42, str(error), HTTPStatus.NOT_FOUND))
            except RequestValidationError as error:
                return refusal(_invalid(error))

        return handle_or_refuse


def refusal(fault: RefusedError) -> Response:
    """Return the answer to a request that is refused."""
    line = " ".join(str(fault).split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"message": line, "code": fault.code}, fault.status)


def _invalid(error: RequestValidationError) -> RefusedError:
    first = error.errors()[0]
    where, *names = first["loc"]
    name = str(names[-1]) if names else ""
    if first["type"] == "json_invalid":
        return RefusedError(0, "Required request body is missing or no JSON")
    if where == "query" and first["type"] == "missing":
        return RefusedError(33, f"Required parameter {name} is missing")
    if where == "body" and (first["type"] == "missing" or first.get("input") is None):
        return RefusedError(5, f"Field {name or 'body'} cannot be empty")
    message = str(first["msg"]).removeprefix("Value error, ")
    return RefusedError(26, f"{name}: {message[:1].lower()}{message[1:]};")


def _blank_as(value: object) -> BeforeValidator:
    """Return what takes an empty parameter for an absent one, as Spring does."""
    return BeforeValidator(lambda given: value if given == "" else given)


Limit = Annotated[
    int,
    _blank_as(0),
    Query(ge=0, le=MAX_INT, description="faces at most, the largest ones; 0 for all"),
]
PredictionCount = Annotated[
    int, _blank_as(1), Query(ge=1, le=MAX_INT, description="people at most for each face")
]
MinScore = Annotated[
    Annotated[float, Field(ge=0, le=1)] | None,
    _blank_as(None),
    Query(description="least score of the detector"),
]
Status = Annotated[
    bool, _blank_as(False), Query(description="tell how long each step took, and what did it")
]
DetectFaces = Annotated[
    bool, _blank_as(True), Query(description="false for a photo that is one face, cut out")
]


FacePlugins = Annotated[
    str,
    Query(
        max_length=1000,
        description="of age, gender, landmarks, calculator (the embedding) and pose, separated by "
        "commas; others are ignored",
    ),
]


def plugins_of(given: str) -> frozenset[str]:
    """Return the names of plugins in a parameter."""
    return frozenset(each.strip() for each in given.split(","))


@dataclass(frozen=True, slots=True)
class SentPhoto:
    """A photo of a request.

    Attributes:
        name: of the file, for messages.
        data: the file.
    """

    name: str
    data: bytes

    @property
    def has_known_extension(self) -> bool:
        """Whether the name is that of a photo."""
        return self.name.rpartition(".")[2].lower() in EXTENSIONS


async def sent_photos(request: Request, *names: str) -> list[SentPhoto]:
    """Return the photos of a request: parts of a form, or base64 in JSON.

    Args:
        request: whose body is read.
        names: of the parts or keys.

    Raises:
        RefusedError: if one is missing, has no name, or is no base64.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _of_form(request, names)
    if kind == "application/json":
        return await _of_json(request, names)
    raise RefusedError(0, f"Content type '{kind}' not supported: send multipart/form-data or JSON")


async def _of_form(request: Request, names: tuple[str, ...]) -> list[SentPhoto]:
    photos = []
    if not has_text(request.headers):
        raise RefusedError(0, "the texts of a form must be UTF-8")
    try:
        async with request.form(max_files=10, max_fields=20) as form:
            for name in names:
                part = form.get(name)
                if part is None:
                    raise RefusedError(34, f"Required part {name} is missing")
                if not isinstance(part, UploadFile):
                    raise RefusedError(21, f"File [{name}] has no name, and so no extension")
                photos.append(SentPhoto(part.filename or name, await part.read()))
    except HTTPException as error:
        if "maximum size" in str(error.detail):  # of a part that is no file
            raise RefusedError(21, "a photo is sent without the name of its file") from error
        raise
    return photos


async def _of_json(request: Request, names: tuple[str, ...]) -> list[SentPhoto]:
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise RefusedError(0, "Required request body is missing or no JSON") from error
    photos = []
    for name in names:
        value = body.get(name) if isinstance(body, dict) else None
        if not isinstance(value, str) or not value:
            raise RefusedError(5, f"Field {name} cannot be empty")
        try:
            data = await asyncio.to_thread(base64.b64decode, value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RefusedError(21, "Provided value is not Base64") from error
        photos.append(SentPhoto(f"{name}.jpg", data))
    return photos


def photo_body(*names: str) -> dict[str, JsonValue]:
    """Return the OpenAPI description of a request with photos."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": list(names),
                        "properties": {
                            name: {"type": "string", "format": "binary", "description": "a photo"}
                            for name in names
                        },
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": list(names),
                        "properties": {
                            name: {
                                "type": "string",
                                "format": "byte",
                                "minLength": 1,
                                "description": "a photo in base64",
                            }
                            for name in names
                        },
                    }
                },
            },
        }
    }


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": CompreFaceErrorJson, "description": "The request or the photo cannot be used."},
    404: {"model": CompreFaceErrorJson, "description": "Wrong key, or nothing of that name."},
    421: {"model": CompreFaceErrorJson, "description": "Host header not allowed."},
    429: {"model": CompreFaceErrorJson, "description": "Too many wrong keys from this address."},
    500: {"model": CompreFaceErrorJson, "description": "It failed: see the service's log."},
    503: {"model": CompreFaceErrorJson, "description": "Too busy: see Retry-After."},
    507: {"model": CompreFaceErrorJson, "description": "The disk is full."},
}

NEEDS_KEY: dict[str, JsonValue] = {"security": [{"key": []}, {}]}
"""A key is needed where the configuration has a token."""

Embedding = Annotated[list[float], Field(min_length=1, max_length=4096)]
