"""The configuration: one module for each table, the whole file in `whole`."""

from stream.config.camera import (
    CAMERA_NAME,
    CameraChange,
    CameraConfig,
    Region,
    Rotation,
    parse_camera,
)
from stream.config.cluster import NODE_VARIABLE, SITE_VARIABLE, ClusterConfig
from stream.config.compreface import CompreFaceConfig, DeepStackConfig
from stream.config.events import EventsConfig, VisitorsConfig
from stream.config.frigate import (
    FRIGATE_PASSWORD_VARIABLE,
    FRIGATE_TOKEN_VARIABLE,
    FRIGATE_USER_VARIABLE,
    FrigateConfig,
)
from stream.config.gallery import DATABASE_VARIABLE, GalleryConfig
from stream.config.mqtt import MQTT_PASSWORD_VARIABLE, Broker, MqttConfig
from stream.config.recognizer import RecognizerConfig
from stream.config.rules import SERVICE_VARIABLE, NotifyConfig, RuleConfig
from stream.config.section import Section
from stream.config.server import TOKEN_VARIABLE, VIEWER_TOKEN_VARIABLE, ServerConfig
from stream.config.sfu import SFU_SECRET_VARIABLE, SfuConfig
from stream.config.video import TURN_SECRET_VARIABLE, VideoConfig
from stream.config.webhooks import WEBHOOK_SECRET_VARIABLE, WebhookConfig
from stream.config.whole import CONFIG_VARIABLE, Config, configuration_file, data_dir, load_config

__all__ = [
    "CAMERA_NAME",
    "CONFIG_VARIABLE",
    "DATABASE_VARIABLE",
    "FRIGATE_PASSWORD_VARIABLE",
    "FRIGATE_TOKEN_VARIABLE",
    "FRIGATE_USER_VARIABLE",
    "MQTT_PASSWORD_VARIABLE",
    "NODE_VARIABLE",
    "SERVICE_VARIABLE",
    "SFU_SECRET_VARIABLE",
    "SITE_VARIABLE",
    "TOKEN_VARIABLE",
    "TURN_SECRET_VARIABLE",
    "VIEWER_TOKEN_VARIABLE",
    "WEBHOOK_SECRET_VARIABLE",
    "Broker",
    "CameraChange",
    "CameraConfig",
    "ClusterConfig",
    "CompreFaceConfig",
    "Config",
    "DeepStackConfig",
    "EventsConfig",
    "FrigateConfig",
    "GalleryConfig",
    "MqttConfig",
    "NotifyConfig",
    "RecognizerConfig",
    "Region",
    "Rotation",
    "RuleConfig",
    "Section",
    "ServerConfig",
    "SfuConfig",
    "VideoConfig",
    "VisitorsConfig",
    "WebhookConfig",
    "configuration_file",
    "data_dir",
    "load_config",
    "parse_camera",
]
