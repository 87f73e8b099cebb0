"""Rules and subscribed devices as JSON; secrets are shown as ***, and to administrators only."""

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import TypedDict

from stream.config import RuleConfig
from stream.config.rules import (
    PLACEHOLDER,
    AppriseAction,
    MqttAction,
    PushAction,
    WebhookAction,
)
from stream.http_address import origin, parse_http_address

HIDDEN = "***"

Action = WebhookAction | AppriseAction | PushAction | MqttAction


class ActionJson(TypedDict):
    """What a rule does, and how that goes.

    `settings` is what a rule is made of, its secrets as `***`; null for viewers. `dead` counts
    those given up, over restarts; `trouble` says why the last try failed. For viewers `label` is
    the type, and `trouble` only "fails".
    """

    type: str
    label: str
    settings: dict[str, Any] | None
    delivered: int
    failures: int
    dead: int
    waiting: int
    trouble: str


class RuleJson(TypedDict):
    """Which events are notified, and how; `last_fired` and `paused_until` are ISO 8601 in UTC.

    A paused rule without `paused_until` stays off until it is switched on. `is_configured` where
    the configuration file has the rule too.
    """

    rule_id: str
    name: str
    who: list[str]
    cameras: list[str]
    zones: list[str]
    kinds: list[str]
    hours: str
    days: list[str]
    cooldown_s: float
    max_per_hour: int
    then: list[ActionJson]
    is_configured: bool
    is_paused: bool
    paused_until: str | None
    fired: int
    last_fired: str | None
    in_cooldown: int
    over_limit: int


class RulesJson(TypedDict):
    """All rules, and what new ones can use."""

    rules: list[RuleJson]
    services: list[str]
    groups: list[str]
    has_apprise: bool
    has_broker: bool
    time_zone: str


class TestedJson(TypedDict):
    """How the test of an action went; `error` is empty where it was accepted."""

    label: str
    error: str


class TestJson(TypedDict):
    """How a test went, for each action."""

    results: list[TestedJson]


class DeviceJson(TypedDict):
    """A phone or browser that is notified."""

    device_id: str
    name: str
    added_at: str
    role: str


class PushJson(TypedDict):
    """The key that browsers subscribe with, and the devices; viewers see none."""

    public_key: str
    devices: list[DeviceJson]


def shown_action(action: Action) -> dict[str, Any]:
    """Return an action's settings without secrets: addresses and headers are cut to `***`."""
    shown = action.model_dump(mode="json")
    if isinstance(action, WebhookAction):
        shown["url"] = shown_address(action.url)
        shown["headers"] = dict.fromkeys(action.headers, HIDDEN)
    return shown


def shown_address(url: str) -> str:
    """Return an address without the parts that are secret in those of chat services."""
    host = origin(parse_http_address(PLACEHOLDER.sub("x", url)))
    return host if url.rstrip("/") == host else f"{host}/{HIDDEN}"


def with_secrets(rule: RuleConfig, before: RuleConfig | None) -> RuleConfig:
    """Return a rule whose `***` are those of the rule before; see `shown_action`.

    A secret stays with its shown address, and webhooks with the same one keep their order.

    Raises:
        ValueError: if the rule before has none, or it is uncertain which one is meant.
    """
    known, hidden = _webhooks(before, _has_secret), _webhooks(rule, _is_hidden)
    left: dict[str, Iterator[WebhookAction]] = {}
    for shown, actions in hidden.items():
        kept = known.get(shown, [])
        secrets = [(each.url, each.headers) for each in kept]
        # One of several was added or removed, or its address was replaced: which is unknown.
        if len(actions) != len(kept) and any(each != secrets[0] for each in secrets):
            raise ValueError(
                "enter the address in full, without ***: several webhooks are at "
                f"{shown.removesuffix(f'/{HIDDEN}')}"
            )
        left[shown] = iter(kept)
    then = tuple(
        _revealed(each, next(left[shown_address(each.url)], None))
        if isinstance(each, WebhookAction) and _is_hidden(each)
        else each
        for each in rule.then
    )
    return rule.model_copy(update={"then": then})


def _webhooks(
    rule: RuleConfig | None, is_wanted: Callable[[WebhookAction], bool]
) -> dict[str, list[WebhookAction]]:
    """Return some of a rule's webhooks by their shown address, each in order."""
    found: dict[str, list[WebhookAction]] = {}
    for each in rule.then if rule else ():
        if isinstance(each, WebhookAction) and is_wanted(each):
            found.setdefault(shown_address(each.url), []).append(each)
    return found


def _has_secret(action: WebhookAction) -> bool:
    return bool(action.headers) or shown_address(action.url).endswith(f"/{HIDDEN}")


def _is_hidden(action: WebhookAction) -> bool:
    return HIDDEN in action.headers.values() or action.url.endswith(f"/{HIDDEN}")


def _revealed(action: WebhookAction, known: WebhookAction | None) -> WebhookAction:
    if known is not None:
        url = known.url if action.url == shown_address(known.url) else action.url
        headers = {
            name: known.headers.get(name, HIDDEN) if value == HIDDEN else value
            for name, value in action.headers.items()
        }
        if not url.endswith(f"/{HIDDEN}") and HIDDEN not in headers.values():
            return action.model_copy(update={"url": url, "headers": headers})
    raise ValueError("enter the address and headers in full, without ***")
