"""The parts of a service that its configuration decides: what is opened, and with what."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery.address import shown
from gallery.errors import GalleryUnreachableError
from stream.cameras.store import CameraStore
from stream.config import CameraConfig, Config
from stream.events.webhook_queue import Outbox, forget_others, hook_keys
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.mqtt.events import outbox_key
from stream.integrations.push.devices import Devices
from stream.integrations.rules.engine import Rules
from stream.integrations.webhooks import Webhook
from stream.supervisor import Supervisor

if TYPE_CHECKING:
    from stream.replication.replicator import Replicator

DEMO_CAMERA = CameraConfig(name="demo", url="demo:")


def settings_of_commands(config: Config) -> dict[str, dict[str, Any]]:
    """Return the settings for commands that run beside the service, valid in any directory."""
    tables = config.model_dump(
        mode="json",
        include={"recognizer", "gallery", "events"},
        exclude={"gallery": {"directory"}},
        exclude_unset=True,
    )
    if config.gallery.database:
        tables["gallery"]["database"] = shown(config.gallery.database)
    model = tables.get("recognizer", {}).get("model", "")
    if os.sep in model or Path(model).is_file():
        tables["recognizer"]["model"] = str(Path(model).absolute())
    return tables


def open_cameras(config: Config) -> CameraStore:
    """Return the store of the cameras, whose settings a cluster has in its database."""
    directory = config.gallery_directory
    if not config.cluster.node:
        return CameraStore.open(directory, config.cameras or (DEMO_CAMERA,))
    from stream.cluster.store import ClusterStore

    return ClusterStore.of_node(
        directory,
        address=config.gallery.database,
        node=config.cluster.node,
        site=config.cluster.site or None,
    )


def open_replicator(config: Config) -> "Replicator":
    """Return the sharer of this machine's events; the event log must be open."""
    from stream.replication.replicator import Replicator

    replicator = Replicator(
        config.gallery_directory,
        config.gallery.database,
        keep_days=config.events.keep_days,
        name=config.cluster.name,
    )
    try:
        try:
            replicator.enter()
        except GalleryUnreachableError as error:
            replicator.enter_later(error)
    except BaseException:
        replicator.close()
        raise
    return replicator


def open_webhooks(config: Config, supervisor: Supervisor) -> list[Webhook]:
    """Open the webhooks with their pending events; the event log must be open."""
    keys = hook_keys([each.url for each in config.webhooks])
    directory = config.gallery_directory
    of_mqtt = [outbox_key(config.mqtt)] if config.mqtt.is_on else []
    forget_others(directory, [*keys, *of_mqtt])  # all if none is configured any more
    webhooks = []
    for number, (each, key) in enumerate(zip(config.webhooks, keys, strict=True), 1):
        outbox = Outbox(directory, key)
        webhooks.append(
            Webhook(each, number=number, outbox=outbox, supervisor=supervisor, wall_clock=time.time)
        )
    return webhooks


def open_rules(config: Config, supervisor: Supervisor, broker: MqttClient | None) -> Rules:
    """Open the rules with their pending notifications; the event log must be open."""
    server = config.server
    return Rules(
        config.gallery_directory,
        config.rules,
        config.notify,
        zone=config.events.zone,
        devices=Devices(
            config.gallery_directory,
            tokens={"admin": server.token, "viewer": server.viewer_token},
            wall_clock=time.time,
        ),
        broker=broker,
        supervisor=supervisor,
        wall_clock=time.time,
    )
