"""The state of an integration, as the settings page and GET /api/integrations show it."""

from dataclasses import dataclass

from stream.integrations.delivery import DeliveryStatus
from stream.integrations.frigate.companion import FrigateStatus
from stream.integrations.mqtt.client import MqttStatus


@dataclass(frozen=True, slots=True)
class IntegrationStatus:
    """State of one integration.

    Attributes:
        name: what it is, such as "MQTT".
        where: host and port of the other program, without secrets; empty for a program that
            calls this service.
        is_working: whether it works now.
        detail: what it does, or did so far, one line.
        trouble: what is wrong, one line; empty if nothing is.
    """

    name: str
    where: str
    is_working: bool
    detail: str
    trouble: str


def of_mqtt(status: MqttStatus, *, waiting: int, dropped: int) -> IntegrationStatus:
    """Return the state of the connection to a broker.

    Args:
        status: of the client.
        waiting: messages that wait.
        dropped: messages and events given up.
    """
    counts = [f"{status.published} messages published"]
    counts += [f"{waiting} wait"] * bool(waiting)
    counts += [f"{dropped} messages dropped"] * bool(dropped)
    return IntegrationStatus(
        name="MQTT",
        where=status.broker,
        is_working=status.is_connected and not status.trouble,
        detail=", ".join(counts),
        trouble=f"the broker {status.broker} {status.trouble}" if status.trouble else "",
    )


def of_frigate(status: FrigateStatus) -> IntegrationStatus:
    """Return the state of the names that Frigate's events get."""
    counts = [f"{status.received} messages about people", f"{status.written} names written"]
    counts += [f"{status.waiting} wait"] * bool(status.waiting)
    counts += [f"{status.given_up} given up"] * bool(status.given_up)
    return IntegrationStatus(
        name="Frigate",
        where=status.origin,
        is_working=not status.trouble,
        detail=", ".join(counts),
        trouble=status.trouble,
    )


def of_webhook(status: DeliveryStatus) -> IntegrationStatus:
    """Return the state of a webhook."""
    number, _, where = status.label.partition(" at ")
    counts = [f"{status.delivered} events delivered"]
    counts += [f"{status.waiting} wait"] * bool(status.waiting)
    counts += [f"{status.dead} given up"] * bool(status.dead)
    return IntegrationStatus(
        name=f"Webhook {number}",
        where=where,
        is_working=not status.trouble,
        detail=", ".join(counts),
        trouble=f"the receiver {status.trouble}" if status.trouble else "",
    )
