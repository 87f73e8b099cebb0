"""The [recognizer] table of the configuration."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stream.config.section import Section
from stream.inputs import Text


def _check_workers(value: object) -> object:
    if value != "auto" and (type(value) is not int or not 1 <= value <= 64):
        raise ValueError(f'must be "auto" or 1 to 64, got {value!r}')
    return value


Workers = Annotated[Literal["auto"] | int, BeforeValidator(_check_workers)]

PHOTO_MIN_FACE_PX = 40
"""Smallest face to detect in photos, which seldom are about a smaller one."""


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
    workers: Workers = Field(
        "auto",
        description="processes that run the cameras, 1 for the service's own; auto for one for "
        "four cameras, at most one for two CPU cores",
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
