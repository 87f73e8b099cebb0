"""The [frigate] table: a Frigate whose events get our names."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from stream.config.camera import CAMERA_NAME
from stream.config.section import Section
from stream.http_address import parse_http_address
from stream.inputs import Text, Url

FRIGATE_USER_VARIABLE = "FACEWIRE_FRIGATE_USER"
FRIGATE_PASSWORD_VARIABLE = "FACEWIRE_FRIGATE_PASSWORD"
FRIGATE_TOKEN_VARIABLE = "FACEWIRE_FRIGATE_TOKEN"

MAX_CAMERAS = 1000

FrigateCamera = Annotated[str, Field(min_length=1, max_length=100)]


class FrigateConfig(Section):
    """The [frigate] table."""

    url: Url = Field(
        "",
        description="http:// or https:// address of Frigate, whose events get the names of people; "
        "needs [mqtt]; nothing is written unless set",
    )
    user: Text = Field(
        "",
        description="of Frigate, with the role admin, for port 8971; from the environment: "
        f"{FRIGATE_USER_VARIABLE}",
    )
    password: Text = Field(
        "",
        repr=False,
        description=f"of the user; from the environment: {FRIGATE_PASSWORD_VARIABLE}",
    )
    token: Text = Field(
        "",
        repr=False,
        description="a JSON Web Token of Frigate, in place of user and password; from the "
        f"environment: {FRIGATE_TOKEN_VARIABLE}",
    )
    verify_tls: bool = Field(
        True, description="check the certificate of https://; Frigate makes a self-signed one"
    )
    topic: str = Field(
        "frigate",
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
        max_length=200,
        description="Frigate's mqtt topic_prefix",
    )
    cameras: dict[FrigateCamera, Text] = Field(
        {},
        max_length=MAX_CAMERAS,
        description="Frigate's name of a camera, and ours; those not listed have one name",
    )
    within_s: float = Field(
        1.0,
        ge=0.1,
        le=10,
        description="longest time between our frame of a face and Frigate's of its person, seconds",
    )

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        if url and parse_http_address(url).userinfo:
            raise ValueError(
                f"must not hold a user or password: set {FRIGATE_USER_VARIABLE} and "
                f"{FRIGATE_PASSWORD_VARIABLE}"
            )
        return url

    @field_validator("cameras")
    @classmethod
    def _cameras_have_names(cls, cameras: dict[str, str]) -> dict[str, str]:
        for ours in cameras.values():
            if not CAMERA_NAME.fullmatch(ours):
                raise ValueError(f"{ours!r} must be 1 to 64 letters, digits, - or _")
        return cameras

    @model_validator(mode="after")
    def _login_is_whole(self) -> "FrigateConfig":
        if self.url and bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together: set both")
        return self
