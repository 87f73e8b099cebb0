"""The [video] table of the configuration."""

from typing import Self

from pydantic import Field, model_validator

from stream.config.section import Section
from stream.ice import IceServers

TURN_SECRET_VARIABLE = "FACEWIRE_TURN_SECRET"


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
