"""Cameras as JSON."""

from typing_extensions import TypedDict

from stream.cameras.camera import CameraStatus
from stream.config import Rotation
from stream.redaction import redact


class CameraSettingsJson(TypedDict):
    """A camera's settings as PATCH /api/cameras/{camera} takes them; null for the default."""

    url: str
    rtsp_transport: str
    loop: bool
    target_fps: float | None
    min_face_px: int | None
    rotation: int
    region: tuple[float, float, float, float] | None
    zones: dict[str, list[tuple[float, float]]]
    open_timeout_s: float
    read_timeout_s: float
    frozen_after_s: float
    pixel_aspect: str
    deinterlace: str
    verify_tls: bool
    enabled: bool


class CameraJson(TypedDict):
    """One camera at one moment; `url` shows no secret of it, and to viewers nothing at all.

    `state` is connecting, live, frozen, failing, ended or off; `is_pushed` is true where a browser
    or encoder sends it; `suggested_rotation` is the `rotation` to set where most faces are turned
    the same way, or null; `machine` is the name of the machine that runs it, empty where it runs
    on this one alone.
    """

    name: str
    url: str
    state: str
    since_s: float
    reason: str
    width: int
    height: int
    fps_in: float
    fps_out: float
    dropped: int
    encoder_dropped: int
    viewers: int
    reconnects: int
    latency_p95_ms: float
    is_pushed: bool
    suggested_rotation: Rotation | None
    machine: str
    settings: CameraSettingsJson


def camera_json(status: CameraStatus, *, is_admin: bool, machine: str = "") -> CameraJson:
    """Return a camera as JSON; its masked URL is only for administrators."""
    url = status.url if is_admin else ""
    return {
        "name": status.name,
        "url": url,
        "state": str(status.state),
        "since_s": round(status.since_s, 1),
        "reason": redact(status.reason),
        "width": status.width,
        "height": status.height,
        "fps_in": round(status.fps_in, 1),
        "fps_out": round(status.fps_out, 1),
        "dropped": status.dropped,
        "encoder_dropped": status.encoder_dropped,
        "viewers": status.viewers,
        "reconnects": status.reconnects,
        "latency_p95_ms": round(status.latency_ms.p95, 1),
        "is_pushed": status.is_pushed,
        "suggested_rotation": status.suggested_rotation,
        "machine": machine,
        "settings": {
            "url": url,
            "rtsp_transport": status.config.rtsp_transport,
            "loop": status.config.loop,
            "target_fps": status.config.target_fps,
            "min_face_px": status.config.min_face_px,
            "rotation": status.config.rotation,
            "region": status.config.region,
            "zones": {name: list(points) for name, points in status.config.zones.items()},
            "open_timeout_s": status.config.open_timeout_s,
            "read_timeout_s": status.config.read_timeout_s,
            "frozen_after_s": status.config.frozen_after_s,
            "pixel_aspect": status.config.pixel_aspect,
            "deinterlace": status.config.deinterlace,
            "verify_tls": status.config.verify_tls,
            "enabled": status.config.enabled,
        },
    }
