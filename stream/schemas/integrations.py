"""Integrations as JSON."""

from typing import Protocol

from typing_extensions import TypedDict


class IntegrationJson(TypedDict):
    """One integration: its name, the other program's address, and how it goes."""

    name: str
    where: str
    is_working: bool
    detail: str
    trouble: str


class IntegrationsJson(TypedDict):
    """The integrations that are configured."""

    integrations: list[IntegrationJson]


class Status(Protocol):
    """What is shown of one; see `stream.integrations.status`."""

    @property
    def name(self) -> str:
        """What it is."""

    @property
    def where(self) -> str:
        """Where the other program is."""

    @property
    def is_working(self) -> bool:
        """Whether it works now."""

    @property
    def detail(self) -> str:
        """What it did so far."""

    @property
    def trouble(self) -> str:
        """What is wrong."""


def integration_json(status: Status, *, is_admin: bool) -> IntegrationJson:
    """Return an integration as JSON; without addresses and reasons for viewers."""
    return {
        "name": status.name,
        "where": status.where if is_admin else "",
        "is_working": status.is_working,
        "detail": status.detail,
        "trouble": status.trouble if is_admin else status.trouble and "fails",
    }
