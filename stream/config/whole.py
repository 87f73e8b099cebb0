"""The configuration: one TOML file, checked before anything starts.

Order: the defaults below < the file < the environment (secrets only) < flags. The file is named by
--config, else by FACEWIRE_CONFIG.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import platformdirs
from pydantic import Field, ValidationError, field_validator, model_validator

from gallery import Place
from stream.config.camera import CameraConfig
from stream.config.cluster import (
    CLUSTER_URL_VARIABLE,
    NODE_VARIABLE,
    SITE_VARIABLE,
    ClusterConfig,
    require_database,
)
from stream.config.compreface import CompreFaceConfig, DeepStackConfig
from stream.config.events import EventsConfig, VisitorsConfig
from stream.config.frigate import (
    FRIGATE_PASSWORD_VARIABLE,
    FRIGATE_TOKEN_VARIABLE,
    FRIGATE_USER_VARIABLE,
    FrigateConfig,
)
from stream.config.gallery import DATABASE_VARIABLE, GalleryConfig
from stream.config.mqtt import MQTT_PASSWORD_VARIABLE, MqttConfig
from stream.config.recognizer import RecognizerConfig
from stream.config.rules import SERVICE_VARIABLE, NotifyConfig, RuleConfig, check_rules
from stream.config.section import Section
from stream.config.server import (
    FORWARDED_VARIABLE,
    TOKEN_VARIABLE,
    VIEWER_TOKEN_VARIABLE,
    ServerConfig,
    require_token,
)
from stream.config.sfu import SFU_SECRET_VARIABLE, SfuConfig
from stream.config.video import TURN_SECRET_VARIABLE, VideoConfig
from stream.config.webhooks import WEBHOOK_SECRET_VARIABLE, WebhookConfig
from stream.config_file import describe, read_tables, update_table
from stream.errors import ConfigError

CONFIG_VARIABLE = "FACEWIRE_CONFIG"
"""Names the configuration file where no flag does."""


def data_dir() -> Path:
    """Return the data directory: FACEWIRE_DATA, else the user's own for this program."""
    return Path(
        os.environ.get("FACEWIRE_DATA") or platformdirs.user_data_path("facewire", appauthor=False)
    )


class Config(Section):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    recognizer: RecognizerConfig = RecognizerConfig()
    gallery: GalleryConfig = GalleryConfig()
    events: EventsConfig = EventsConfig()
    visitors: VisitorsConfig = VisitorsConfig()
    cluster: ClusterConfig = ClusterConfig()
    video: VideoConfig = VideoConfig()
    compreface: CompreFaceConfig = CompreFaceConfig()
    deepstack: DeepStackConfig = DeepStackConfig()
    mqtt: MqttConfig = MqttConfig()
    sfu: SfuConfig = SfuConfig()
    frigate: FrigateConfig = FrigateConfig()
    cameras: tuple[CameraConfig, ...] = Field((), description="the cameras to watch")
    webhooks: tuple[WebhookConfig, ...] = Field((), description="programs that receive events")
    notify: NotifyConfig = NotifyConfig()
    rules: tuple[RuleConfig, ...] = Field(
        (), max_length=200, description="which events are notified, and how"
    )

    @field_validator("cameras")
    @classmethod
    def _names_differ(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cameras are named {name!r}")
        return cameras

    @model_validator(mode="after")
    def _rules_are_complete(self) -> Self:
        check_rules(self.rules, self.notify)
        return self

    @model_validator(mode="after")
    def _frigate_has_a_broker(self) -> Self:
        if self.frigate.url and not self.mqtt.is_on:
            raise ValueError("[frigate] needs the url of [mqtt]: Frigate's broker")
        return self

    @model_validator(mode="after")
    def _cluster_has_a_database(self) -> Self:
        if self.cluster.url and not self.gallery.database:
            raise ValueError("[cluster] needs the database of [gallery], which all machines share")
        return self

    @property
    def is_demo(self) -> bool:
        """Whether the demo runs: neither cameras nor a gallery are configured."""
        return not self.cameras and self.gallery.directory is None and not self.gallery.database

    @property
    def gallery_directory(self) -> Path:
        """Directory of people and events; the demo has its own."""
        if self.gallery.directory is not None:
            return self.gallery.directory
        return data_dir() / ("demo" if self.is_demo else "gallery")

    @property
    def gallery_place(self) -> Place:
        """Where people are stored: the database, else the directory."""
        return self.gallery.database or self.gallery_directory


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
        require_token(config.server)
        require_database(config.cluster, config.gallery, has_cameras=bool(config.cameras))
    return config


def _apply_environment(tables: dict[str, Any]) -> None:
    """Apply the environment to the unchecked tables of a file."""
    for key, variable in (("token", TOKEN_VARIABLE), ("viewer_token", VIEWER_TOKEN_VARIABLE)):
        if token := os.environ.get(variable):
            update_table(tables, "server", {key: token})
    if allowed := os.environ.get(FORWARDED_VARIABLE):
        proxies = [each.strip() for each in allowed.split(",") if each.strip()]
        update_table(tables, "server", {"forwarded_allow_ips": proxies})
    if database := os.environ.get(DATABASE_VARIABLE):
        update_table(tables, "gallery", {"database": database})
    for key, variable in (
        ("url", CLUSTER_URL_VARIABLE),
        ("name", NODE_VARIABLE),
        ("site", SITE_VARIABLE),
    ):
        if value := os.environ.get(variable):
            update_table(tables, "cluster", {key: value})
    if secret := os.environ.get(TURN_SECRET_VARIABLE):
        update_table(tables, "video", {"turn_secret": secret})
    services = {
        name.removeprefix(SERVICE_VARIABLE).lower(): url
        for name, url in os.environ.items()
        if name.startswith(SERVICE_VARIABLE) and url
    }
    if services:
        update_table(tables, "notify", {})
        if isinstance(notify := tables["notify"], dict):
            update_table(notify, "services", services)
    if password := os.environ.get(MQTT_PASSWORD_VARIABLE):
        update_table(tables, "mqtt", {"password": password})
    if secret := os.environ.get(SFU_SECRET_VARIABLE):
        update_table(tables, "sfu", {"secret": secret})
    for key, variable in (
        ("user", FRIGATE_USER_VARIABLE),
        ("password", FRIGATE_PASSWORD_VARIABLE),
        ("token", FRIGATE_TOKEN_VARIABLE),
    ):
        if value := os.environ.get(variable):
            update_table(tables, "frigate", {key: value})
    secret = os.environ.get(WEBHOOK_SECRET_VARIABLE)
    webhooks = tables.get("webhooks")
    if secret and isinstance(webhooks, list):
        for webhook in webhooks:
            if isinstance(webhook, dict):
                webhook.setdefault("secret", secret)
