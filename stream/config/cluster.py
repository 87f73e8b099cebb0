"""The [cluster] table of the configuration."""

import re
import socket

from pydantic import Field, field_validator

from stream.config.gallery import DATABASE_VARIABLE, GalleryConfig
from stream.config.section import Section
from stream.errors import ConfigError
from stream.http_address import parse_http_address
from stream.inputs import Text

CLUSTER_URL_VARIABLE = "FACEWIRE_CLUSTER_URL"
"""Where a configuration is shared by machines of different addresses, such as containers."""

NODE_VARIABLE = "FACEWIRE_NODE"
SITE_VARIABLE = "FACEWIRE_SITE"
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ClusterConfig(Section):
    """The [cluster] table."""

    url: str = Field(
        "",
        description="address under which the other machines on the database of [gallery] reach "
        "this one, such as http://10.0.0.2:8080; then every machine's page and API have the "
        "cameras of all; off without it; from the environment: "
        f"{CLUSTER_URL_VARIABLE}",
    )
    name: Text = Field(
        "",
        max_length=64,
        description="this machine's name, shown beside its cameras; its host name by default; "
        f"from the environment: {NODE_VARIABLE}",
    )
    placed: bool = Field(
        False,
        description="run the cameras that facewire cluster places on this machine, no others; as "
        "facewire serve --cluster",
    )
    site: str = Field(
        "",
        description="where this machine is: cameras of a site are placed only on its machines; "
        f"from the environment: {SITE_VARIABLE}",
    )

    @property
    def node(self) -> str:
        """Name of this machine where cameras are placed on it; else empty."""
        return (self.name or socket.gethostname()) if self.placed else ""

    @field_validator("url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        if url:
            parsed = parse_http_address(url)
            if parsed.query or parsed.fragment or parsed.userinfo:
                raise ValueError("must be an address such as http://10.0.0.2:8080")
        return url.rstrip("/")

    @field_validator("site")
    @classmethod
    def _site_is_a_name(cls, site: str) -> str:
        if site and not SITE_NAME.fullmatch(site):
            raise ValueError(f"{site!r} must be 1 to 64 letters, digits, . - or _")
        return site


def require_database(cluster: ClusterConfig, gallery: GalleryConfig, *, has_cameras: bool) -> None:
    """Raise ConfigError if a machine of a cluster has no database, or cameras of its own."""
    if cluster.placed and not gallery.database:
        raise ConfigError(
            "a cluster needs a database that its machines share: name it by [gallery] database, "
            f"or in the environment by {DATABASE_VARIABLE}"
        )
    if cluster.placed and has_cameras:
        raise ConfigError(
            "a machine of a cluster has no cameras of its own: add them to the cluster by "
            "facewire cluster add NAME URL"
        )
