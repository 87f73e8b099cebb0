"""The [[cameras]] tables of the configuration."""

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    Strict,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
)

from stream.config.section import Section
from stream.config_file import describe
from stream.errors import ConfigError
from stream.inputs import MAX_URL_LENGTH, Text, Url
from stream.zones import MAX_POINTS, MIN_POINTS, check_outline

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Part = Annotated[float, Strict(), Field(ge=0, le=1)]
Region = tuple[float, float, float, float]
Rotation = Literal[0, 90, 180, 270]
Deinterlace = Literal["auto", "on", "off"]


def _check_aspect(text: str) -> str:
    """Reject an implausible pixel aspect ratio."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
    if text != "auto" and not (match and 1 / 4 <= int(match[1]) / max(1, int(match[2])) <= 4):
        raise ValueError("must be auto or width:height of a pixel from 1:4 to 4:1, such as 16:11")
    return text


PixelAspect = Annotated[str, AfterValidator(_check_aspect)]


def _check_name(name: str) -> str:
    if not CAMERA_NAME.fullmatch(name):
        raise ValueError(f"{name!r} must be 1 to 64 letters, digits, - or _")
    return name


def _check_zone(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    check_outline(points)
    return points


MAX_ZONES = 20
"""Zones of a camera; each is drawn over its video."""

ZoneName = Annotated[
    Text,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": f"^{CAMERA_NAME.pattern}$"}),
]
Zones = Annotated[
    dict[
        ZoneName,
        Annotated[
            tuple[tuple[Part, Part], ...],
            AfterValidator(_check_zone),
            Field(json_schema_extra={"minItems": MIN_POINTS, "maxItems": MAX_POINTS}),
        ],
    ],
    Field(max_length=MAX_ZONES),
]

MAX_URL = 2048
"""Characters of a camera's URL; those of camera makers have up to about 300."""

# The JSON schema describes the form of a name and an address; `CameraConfig` checks it.
CameraName = Annotated[
    Text,
    WithJsonSchema({"type": "string", "maxLength": 64, "pattern": f"^{CAMERA_NAME.pattern}$"}),
]
CameraUrl = Annotated[
    Url,
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_URL_LENGTH,
            "pattern": r"^[^\u0000-\u001F\u007F-\u009F\u2028\u2029]+$",
        }
    ),
]
TargetFps = Annotated[float, Strict(), Field(gt=0, le=120)]
MinFacePx = Annotated[int, Strict(), Field(ge=12, le=1000)]
TimeoutS = Annotated[float, Strict(), Field(ge=1, le=120)]
FrozenAfterS = Annotated[float, Strict(), Field(ge=0, le=3600)]


class CameraConfig(Section):
    """One [[cameras]] table."""

    name: CameraName = Field(
        description="shown on the page and used in addresses: letters, digits, - _"
    )
    url: CameraUrl = Field(
        description="rtsp://, http:// (MJPEG), a file, /dev/video0, or demo: for the demo scene",
        repr=False,
    )
    rtsp_transport: Literal["tcp", "udp"] = Field(
        "tcp", description="transport of RTSP media; udp only on a network without loss"
    )
    loop: StrictBool = Field(True, description="start a file again at its end")
    target_fps: TargetFps | None = Field(
        None, description="maximum frames per second; the camera's own rate unless set"
    )
    min_face_px: MinFacePx | None = Field(
        None, description="smallest face to detect, pixels; the recognizer's unless set"
    )
    rotation: Rotation = Field(0, description="degrees clockwise by which frames are rotated")
    region: tuple[Part, Part, Part, Part] | None = Field(
        None,
        description="x1, y1, x2, y2 of the part whose faces count, 0 to 1 of the rotated frame",
    )
    zones: Zones = Field(
        {},
        description="named polygons for events and rules, each a list of 3 to 20 points [x, y], "
        "0 to 1 of the rotated frame",
    )
    open_timeout_s: TimeoutS = Field(10.0, description="seconds until a camera must answer")
    read_timeout_s: TimeoutS = Field(
        5.0, description="seconds without a frame after which the camera counts as lost"
    )
    frozen_after_s: FrozenAfterS = Field(
        30.0, description="seconds of identical frames after which it counts as frozen; 0 for never"
    )
    pixel_aspect: PixelAspect = Field(
        "auto", description="width:height of a pixel, such as 16:11; auto for the video's own"
    )
    deinterlace: Deinterlace = Field(
        "auto", description="auto for video that is marked as interlaced, on for all, or off"
    )
    verify_tls: StrictBool = Field(
        True, description="check the certificate of https:// and rtsps:// cameras"
    )
    enabled: StrictBool = Field(True, description="whether the camera is on")

    @field_validator("name")
    @classmethod
    def _name_fits_addresses(cls, name: str) -> str:
        return _check_name(name)

    @field_validator("url")
    @classmethod
    def _url_is_one_line(cls, url: str) -> str:
        if len(url) > MAX_URL:
            raise ValueError(f"must have {MAX_URL} characters at most, got {len(url)}")
        # Lone surrogates cannot be stored; control characters can forge log lines.
        if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in url):
            raise ValueError("must hold no line breaks or other control characters")
        return url

    @field_validator("region")
    @classmethod
    def _region_has_an_inside(cls, region: Region | None) -> Region | None:
        if region is not None and (region[0] >= region[2] or region[1] >= region[3]):
            raise ValueError("must be x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        return region


class CameraChange(Section):
    """Changes to a camera's settings; those not named stay, null restores the default."""

    name: CameraName = ""
    url: CameraUrl = Field("", repr=False)
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    loop: StrictBool = True
    target_fps: TargetFps | None = None
    min_face_px: MinFacePx | None = None
    rotation: Rotation = 0
    region: tuple[Part, Part, Part, Part] | None = None
    zones: Zones = Field({})
    open_timeout_s: TimeoutS = 10.0
    read_timeout_s: TimeoutS = 5.0
    frozen_after_s: FrozenAfterS = 30.0
    pixel_aspect: PixelAspect = "auto"
    deinterlace: Deinterlace = "auto"
    verify_tls: StrictBool = True
    enabled: StrictBool = True

    def applied_to(self, camera: CameraConfig) -> CameraConfig:
        """Return a camera's settings with these changes, validated as a whole.

        Raises:
            ConfigError: if a value is out of range; the message never holds it.
        """
        changed = self.model_dump(include=self.model_fields_set)
        try:
            return CameraConfig.model_validate({**camera.model_dump(), **changed})
        except ValidationError as error:
            raise ConfigError(describe(error, f"camera {camera.name}")) from None


def parse_camera(text: str) -> dict[str, str]:
    """Return name and URL of a flag NAME=URL.

    Raises:
        ConfigError: if there is no name or no URL.
    """
    name, separator, url = text.partition("=")
    if not separator or not url or not CAMERA_NAME.fullmatch(name):
        raise ConfigError(
            "a camera must be NAME=URL, such as door=rtsp://192.0.2.7/live, "
            "with a name of letters, digits, - and _"
        )
    return {"name": name, "url": url}
