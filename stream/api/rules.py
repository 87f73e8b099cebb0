"""The HTTP API of notifications: rules, and the devices that they reach."""

import importlib.util
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from stream.api.contract import errors
from stream.api.rooms import ClientDep, DevicesDep, RulesDep, ServiceDep
from stream.config import RuleConfig
from stream.inputs import Text, Url
from stream.integrations.push.devices import Device, check_subscription
from stream.integrations.rules.engine import RuleStatus, Tested
from stream.schemas.rules import (
    DeviceJson,
    PushJson,
    RuleJson,
    RulesJson,
    TestJson,
    shown_action,
    with_secrets,
)

router = APIRouter()

LONGEST_PAUSE_S = 31 * 24 * 3600

RuleId = Annotated[Text, Path(min_length=1, max_length=100)]


class Pause(BaseModel):
    """Whether a rule is switched off."""

    model_config = ConfigDict(extra="forbid")

    is_paused: StrictBool
    for_s: float | None = Field(
        None,
        gt=0,
        le=LONGEST_PAUSE_S,
        description="seconds, 3600 for an hour; null for until it is switched on",
    )


class Subscription(BaseModel):
    """What a browser's PushSubscription is made of."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(max_length=100, description="of the device, for people")
    endpoint: Url = Field(description="of its push service", repr=False)
    p256dh: Text = Field(max_length=200, description="its public key, base64url")
    auth: Text = Field(max_length=100, description="its secret, base64url", repr=False)

    @model_validator(mode="after")
    def _can_be_used(self) -> "Subscription":
        check_subscription(self.endpoint, self.p256dh, self.auth, any_host=True)
        return self


@router.get("/api/rules")
async def list_rules(rules: RulesDep, service: ServiceDep, client: ClientDep) -> RulesJson:
    """List the rules by which events are notified, with their state.

    Viewers see neither addresses nor texts, and only that an action fails. Secrets are shown as
    `***` to administrators, too.
    """
    statuses = await run_in_threadpool(rules.statuses)
    return {
        "rules": [_rule_json(each, is_admin=client.is_admin) for each in statuses],
        "services": rules.services,
        "groups": list(rules.groups),
        "has_apprise": importlib.util.find_spec("apprise") is not None,
        "has_broker": rules.has_broker,
        "time_zone": service.visit_rules.zone_name,
    }


@router.post("/api/rules", status_code=201)
async def add_rule(
    rules: RulesDep, request: Request, rule: Annotated[RuleConfig, Body()], response: Response
) -> RuleJson:
    """Add a rule, also for the next start of the service.

    `{"name": "Strangers at night", "who": ["unknown"], "hours": "22:00-06:00", "then": [{"type":
    "push"}]}`; the keys are those of a [[rules]] table of the configuration. 400 where the name is
    taken or a service or group does not exist.
    """
    rule_id = await run_in_threadpool(rules.add, _full(rule, None))
    response.headers["location"] = f"{request.state.prefix}/api/rules/{rule_id}"
    return _rule_json(rules.status(rule_id), is_admin=True)


@router.put("/api/rules/{rule_id}", responses=errors(404))
async def change_rule(
    rules: RulesDep, rule_id: RuleId, rule: Annotated[RuleConfig, Body()]
) -> RuleJson:
    """Replace the settings of a rule; a `***` that comes back as it was shown keeps its secret."""
    before = rules.status(rule_id).config
    await run_in_threadpool(rules.change, rule_id, _full(rule, before))
    return _rule_json(rules.status(rule_id), is_admin=True)


@router.delete("/api/rules/{rule_id}", status_code=204)
async def remove_rule(rules: RulesDep, rule_id: RuleId) -> None:
    """Remove a rule with all that it has pending, also for the next start of the service."""
    await run_in_threadpool(rules.remove, rule_id)


@router.post("/api/rules/{rule_id}/test", responses=errors(404))
async def test_rule(rules: RulesDep, rule_id: RuleId) -> TestJson:
    """Send the newest event that a rule would notify, or an example: each action once, now.

    Hours, limits and pauses do not apply. `error` says why an action failed.
    """
    return _tested_json(await run_in_threadpool(rules.test, rule_id))


@router.post("/api/rules/{rule_id}/pause", responses=errors(404))
async def pause_rule(rules: RulesDep, rule_id: RuleId, pause: Pause) -> RuleJson:
    """Switch a rule off for some time, off until it is switched on, or on; kept over restarts."""
    seconds = (pause.for_s or math.inf) if pause.is_paused else None
    await run_in_threadpool(rules.pause, rule_id, seconds)
    return _rule_json(rules.status(rule_id), is_admin=True)


@router.get("/api/push")
async def show_push(devices: DevicesDep, client: ClientDep) -> PushJson:
    """Return the key with which a browser subscribes, and the devices that are notified."""
    key = await run_in_threadpool(lambda: devices.public_key)
    shown = devices.all() if client.is_admin else []
    return {"public_key": key, "devices": [_device_json(each) for each in shown]}


@router.post("/api/push/devices", status_code=201)
async def add_device(
    devices: DevicesDep, client: ClientDep, request: Request, subscription: Subscription
) -> DeviceJson:
    """Notify a browser by Web Push, with its PushSubscription; viewers may, too.

    A viewer's endpoint must be of the push service of a known browser. The subscription ends when
    the token with which it was made is changed.
    """
    if not client.is_admin:
        try:
            check_subscription(
                subscription.endpoint, subscription.p256dh, subscription.auth, any_host=False
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
    role = request.state.role
    device = await run_in_threadpool(
        devices.add, **subscription.model_dump(), role="" if role is None else str(role)
    )
    return _device_json(device)


@router.delete("/api/push/devices/{device_id}", status_code=204)
async def remove_device(
    devices: DevicesDep, device_id: Annotated[Text, Path(min_length=1, max_length=100)]
) -> None:
    """Notify a device no more. Viewers only know the id of their own."""
    if not await run_in_threadpool(devices.remove, device_id):
        raise HTTPException(404, "there is no such device")


def _full(rule: RuleConfig, before: RuleConfig | None) -> RuleConfig:
    try:
        return with_secrets(rule, before)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


def _rule_json(status: RuleStatus, *, is_admin: bool) -> RuleJson:
    """Return a rule as JSON."""
    config, until = status.config, status.state.paused_until
    is_timed = status.is_paused and until is not None and math.isfinite(until)
    return {
        "rule_id": status.rule_id,
        "name": config.name,
        "who": list(config.who),
        "cameras": list(config.cameras),
        "zones": list(config.zones),
        "kinds": [kind.value for kind in config.kinds],
        "hours": config.hours,
        "days": list(config.days),
        "cooldown_s": config.cooldown_s,
        "max_per_hour": config.max_per_hour,
        "then": [
            {
                "type": action.type,
                "label": label if is_admin else action.type,
                "settings": shown_action(action) if is_admin else None,
                "delivered": delivery.delivered,
                "failures": delivery.failures,
                "dead": delivery.dead,
                "waiting": delivery.waiting,
                "trouble": delivery.trouble if is_admin else delivery.trouble and "fails",
            }
            for action, label, delivery in zip(
                config.then, status.labels, status.deliveries, strict=True
            )
        ],
        "is_configured": status.is_configured,
        "is_paused": status.is_paused,
        "paused_until": _iso(until) if is_timed and until is not None else None,
        "fired": status.state.fired,
        "last_fired": status.state.last_at,
        "in_cooldown": status.in_cooldown,
        "over_limit": status.over_limit,
    }


def _device_json(device: Device) -> DeviceJson:
    """Return a device as JSON."""
    return {
        "device_id": device.device_id,
        "name": device.name,
        "added_at": device.added_at,
        "role": device.role,
    }


def _tested_json(results: Sequence[Tested]) -> TestJson:
    """Return the results of a test as JSON."""
    return {"results": [{"label": each.label, "error": each.trouble} for each in results]}


def _iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
