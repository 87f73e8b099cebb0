"""The configuration: one TOML file, checked before anything starts.

Order: the defaults below < the file < the environment (secrets only) < flags. The file is named by
--config, else by FACEWIRE_CONFIG.
"""

import base64
import ipaddress
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stream.config_file import describe, read_tables, update_table
from stream.errors import ConfigError
from stream.frames import EventKind
from stream.http_address import parse_http_address
from stream.ice import IceServers
from stream.inputs import MAX_URL_LENGTH, Text, Url

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TOKEN_VARIABLE = "FACEWIRE_TOKEN"
VIEWER_TOKEN_VARIABLE = "FACEWIRE_VIEWER_TOKEN"
FORWARDED_VARIABLE = "FORWARDED_ALLOW_IPS"
WEBHOOK_SECRET_VARIABLE = "FACEWIRE_WEBHOOK_SECRET"
TURN_SECRET_VARIABLE = "FACEWIRE_TURN_SECRET"

CONFIG_VARIABLE = "FACEWIRE_CONFIG"
"""Names the configuration file where no flag does."""

ENCODED_SECRET = "whsec_"
"""Begins a webhook's secret that is written in base64, after Standard Webhooks."""

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

PHOTO_MIN_FACE_PX = 40
"""Smallest face to detect in photos, which seldom are about a smaller one."""

MAX_URL = 2048
"""Characters of a camera's URL; those of camera makers have up to about 300."""


def data_dir() -> Path:
    """Return the data directory: FACEWIRE_DATA, else the user's own for this program."""
    return Path(
        os.environ.get("FACEWIRE_DATA") or platformdirs.user_data_path("facewire", appauthor=False)
    )


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_another_type(cls, values: Any) -> Any:
        for key, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(key)
            if isinstance(value, bool) and field is not None and field.annotation is not bool:
                raise ValueError(f"{key} must not be {str(value).lower()}")
        return values


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
        if not CAMERA_NAME.fullmatch(name):
            raise ValueError(f"{name!r} must be 1 to 64 letters, digits, - or _")
        return name

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


class ServerConfig(Section):
    """The [server] table."""

    host: Text = Field(
        "127.0.0.1", description="address to listen on; any but loopback needs a token"
    )
    port: int = Field(
        8080, ge=0, le=65535, description="TCP port of the page and the API; 0 for a free one"
    )
    token: Text | None = Field(
        None,
        min_length=16,
        repr=False,
        description=f"secret that clients must send; from the environment: {TOKEN_VARIABLE}",
    )
    viewer_token: Text | None = Field(
        None,
        min_length=16,
        repr=False,
        description="secret of viewers, who may watch and read but change nothing; from the "
        f"environment: {VIEWER_TOKEN_VARIABLE}",
    )
    insecure: bool = Field(False, description="listen beyond this machine without a token")
    allowed_hosts: tuple[Text, ...] = Field(
        (), description="host names, such as a proxy's, that browsers may use for the service"
    )
    forwarded_allow_ips: tuple[str, ...] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded- headers are trusted; "
        f"from the environment: {FORWARDED_VARIABLE}, separated by commas",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="path below which a proxy serves the page, such as /faces",
    )
    max_connections: int = Field(
        1000, ge=16, le=30000, description="HTTP connections at one time, in all"
    )
    max_connections_per_address: int = Field(
        250, ge=8, le=30000, description="of those, from one IPv4 address or IPv6 /64 network"
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=600, description="seconds until a request's header is complete"
    )
    body_timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="seconds until a request's body is complete, and one more for each 8 KiB",
    )
    idle_timeout_s: float = Field(
        15.0, gt=0, le=600, description="seconds that a connection may wait between two requests"
    )
    send_timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="seconds until a response has been read, and one more for each 8 KiB",
    )
    max_pages: int = Field(
        200, ge=2, le=10000, description="open pages (WebSockets) at one time, in all"
    )
    max_viewers: int = Field(
        100, ge=2, le=10000, description="videos (WebRTC connections) at one time, in all"
    )
    max_uploads: int = Field(
        16, ge=2, le=1000, description="requests with photos at one time, in all"
    )

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for each in proxies:
            if each != "*":
                try:
                    ipaddress.ip_network(each)
                except ValueError:
                    raise ValueError(f"{each!r} is no IP address or network") from None
        return proxies


class RecognizerConfig(Section):
    """The [recognizer] table."""

    model: Text = Field("sface", description="embedding model: a name of `facewire models list`")
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="where the networks run"
    )
    gender_age_model: Text = Field(
        "",
        description="an .onnx file of facewire-train, or PREFIX,EPOCH of MXNet insightface; "
        "the shipped one unless set",
    )
    precision: Literal["f32", "bf16", "tf32"] = Field(
        "f32",
        description="of the embedding network; faster: bf16 on a CPU that has it, tf32 with cuda",
    )
    threads: int = Field(
        1, ge=0, le=256, description="CPU threads of the networks; 0 uses every core"
    )
    min_face_px: int = Field(
        24,
        ge=12,
        le=1000,
        description="smallest face to detect, pixels; larger is faster; in photos 40 unless set",
    )

    @property
    def photo_min_face_px(self) -> int:
        """Smallest face to detect in photos, pixels."""
        return self.min_face_px if "min_face_px" in self.model_fields_set else PHOTO_MIN_FACE_PX

    still_scan_s: float = Field(
        2.0, ge=0, le=60, description="seconds between two full searches of a scene without motion"
    )


class GalleryConfig(Section):
    """The [gallery] table."""

    directory: Path | None = Field(
        None, description="directory of people and events; in the user's data directory unless set"
    )

    @field_validator("directory", mode="before")
    @classmethod
    def _directory_has_a_name(cls, directory: object) -> object:
        if directory == "" or "\x00" in str(directory):
            raise ValueError("must be the path of a directory")
        return directory

    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="similarity from which a face is a match; the gallery's own unless set",
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=1,
        description="similarity by which the best identity must lead; the model's unless set",
    )


class EventsConfig(Section):
    """The [events] table."""

    confirm_s: float = Field(
        0.2, ge=0, le=10, description="seconds a face must be visible before its enter event"
    )
    absence_s: float = Field(
        2.0, ge=0.1, le=600, description="seconds without the face until its exit event"
    )
    camera_away_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="seconds without frames from a camera until the people in view have left",
    )
    cooldown_s: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="seconds after an enter event in which the person gets no other",
    )
    keep_days: float = Field(30.0, gt=0, description="days after which events are erased")
    keep_mib: float = Field(1024.0, gt=0, description="maximum size of the kept events, MiB")
    visit_gap_s: float = Field(
        120.0, ge=0, le=3600, description="longest time between two stays of one visit, seconds"
    )
    time_zone: Text = Field(
        "", description="whose days reports use, such as Europe/Berlin; the system's unless set"
    )

    @field_validator("time_zone")
    @classmethod
    def _time_zone_exists(cls, name: str) -> str:
        try:
            return name and ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no known time zone, such as Europe/Berlin") from None

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone of reports; None for the system's."""
        return ZoneInfo(self.time_zone) if self.time_zone else None


class VisitorsConfig(Section):
    """The [visitors] table."""

    enabled: bool = Field(
        False, description="recognize unknown people who come again, until the page switches it"
    )
    keep_days: float = Field(
        30.0, gt=0, description="days after its last sighting in which a visitor is kept"
    )


class VideoConfig(Section):
    """The [video] table."""

    bitrate_kbps: int = Field(
        0,
        ge=0,
        le=50000,
        description="kbit/s of a camera's video; 0 for a rate that suits its size",
    )
    ice_servers: tuple[str, ...] = Field(
        (),
        repr=False,
        description="stun:HOST and turn:USER:PASSWORD@HOST URLs, for the service and its viewers",
    )
    turn_secret: str = Field(
        "",
        repr=False,
        description="shared with TURN servers whose URLs hold no user, for time-limited "
        f"credentials; from the environment: {TURN_SECRET_VARIABLE}",
    )

    @model_validator(mode="after")
    def _ice_servers_can_be_used(self) -> Self:
        IceServers(self.ice_servers, secret=self.turn_secret, wall_clock=lambda: 0.0)
        return self


def _decoded(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(ENCODED_SECRET), validate=True)


class WebhookConfig(Section):
    """One [[webhooks]] table."""

    url: Url = Field(description="http:// or https:// address that receives each event", repr=False)
    secret: Text = Field(
        "",
        repr=False,
        description="signs what is sent: whsec_ and the base64 of 24 to 64 bytes, or any text; "
        f"from the environment: {WEBHOOK_SECRET_VARIABLE}",
    )
    events: tuple[EventKind, ...] = Field((), description="kinds of events to send; all by default")

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        parse_http_address(url)
        return url

    @field_validator("secret")
    @classmethod
    def _secret_is_a_key(cls, secret: str) -> str:
        if secret.startswith(ENCODED_SECRET):
            try:
                size = len(_decoded(secret))
            except ValueError:
                size = 0
            if not 24 <= size <= 64:
                raise ValueError(f"after {ENCODED_SECRET} must be the base64 of 24 to 64 bytes")
        return secret

    @property
    def key(self) -> bytes:
        """Key of the signature: the base64 text after whsec_, decoded; else the text's bytes."""
        is_encoded = self.secret.startswith(ENCODED_SECRET)
        return _decoded(self.secret) if is_encoded else self.secret.encode()


class Config(Section):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    recognizer: RecognizerConfig = RecognizerConfig()
    gallery: GalleryConfig = GalleryConfig()
    events: EventsConfig = EventsConfig()
    visitors: VisitorsConfig = VisitorsConfig()
    video: VideoConfig = VideoConfig()
    cameras: tuple[CameraConfig, ...] = Field((), description="the cameras to watch")
    webhooks: tuple[WebhookConfig, ...] = Field((), description="programs that receive events")

    @field_validator("cameras")
    @classmethod
    def _names_differ(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cameras are named {name!r}")
        return cameras

    @property
    def is_demo(self) -> bool:
        """Whether the demo runs: neither cameras nor a gallery are configured."""
        return not self.cameras and self.gallery.directory is None

    @property
    def gallery_directory(self) -> Path:
        """Directory of people and events; the demo has its own."""
        if self.gallery.directory is not None:
            return self.gallery.directory
        return data_dir() / ("demo" if self.is_demo else "gallery")


def configuration_file(flag: Path | None) -> Path | None:
    """Return the path of the configuration file: --config, else FACEWIRE_CONFIG, else None."""
    named = os.environ.get(CONFIG_VARIABLE)
    return flag or (Path(named) if named else None)


def load_config(
    path: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    is_served: bool = True,
) -> Config:
    """Return the configuration: a file with the environment and flags applied.

    Args:
        path: a TOML file; None for the defaults.
        overrides: values of flags by section and key; "cameras" replaces the list by a
            list of tables under the key "list".
        is_served: whether a service starts with it; it needs a token to listen on other addresses.

    Raises:
        ConfigError: if the file cannot be read, or a key or value is wrong.
    """
    tables = {} if path is None else read_tables(path)
    _apply_environment(tables)
    for section, values in (overrides or {}).items():
        if section == "cameras":
            tables["cameras"] = values["list"]
        else:
            update_table(tables, section, values)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(describe(error, str(path or "the configuration"))) from None
    if is_served:
        _require_token(config.server)
    return config


def _apply_environment(tables: dict[str, Any]) -> None:
    """Apply the environment to the unchecked tables of a file."""
    for key, variable in (("token", TOKEN_VARIABLE), ("viewer_token", VIEWER_TOKEN_VARIABLE)):
        if token := os.environ.get(variable):
            update_table(tables, "server", {key: token})
    if allowed := os.environ.get(FORWARDED_VARIABLE):
        proxies = [each.strip() for each in allowed.split(",") if each.strip()]
        update_table(tables, "server", {"forwarded_allow_ips": proxies})
    if secret := os.environ.get(TURN_SECRET_VARIABLE):
        update_table(tables, "video", {"turn_secret": secret})
    secret = os.environ.get(WEBHOOK_SECRET_VARIABLE)
    webhooks = tables.get("webhooks")
    if secret and isinstance(webhooks, list):
        for webhook in webhooks:
            if isinstance(webhook, dict):
                webhook.setdefault("secret", secret)


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


def _require_token(server: ServerConfig) -> None:
    if server.viewer_token and not server.token:
        raise ConfigError(
            f"a viewer token without {TOKEN_VARIABLE} leaves no administrator: set both"
        )
    if server.viewer_token and server.viewer_token == server.token:
        raise ConfigError(
            "the viewer token and the administrator token are the same: set two different ones"
        )
    is_local = server.host in {"127.0.0.1", "::1", "localhost"}
    if not is_local and not server.token and not server.insecure:
        raise ConfigError(
            f"listening on {server.host} lets other machines connect: set {TOKEN_VARIABLE} to a "
            "secret of at least 16 characters, or pass --insecure"
        )
