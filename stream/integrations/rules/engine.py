"""The rules of a service: which events they notify, their deliveries, pauses and tests.

Events are offered in the journal's thread. There a rule only decides, and stores that it fired, so
that nothing is lost by a restart; each of its deliveries has a thread of its own.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from stream.config.camera import CAMERA_NAME
from stream.config.rules import (
    AppriseAction,
    MqttAction,
    NotifyConfig,
    PushAction,
    RuleConfig,
    WebhookAction,
    check_rules,
)
from stream.errors import ConfigError, EventLogError, UnknownRuleError
from stream.events.firings import HOOK, Firings, RuleState
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import OF_RULES, Outbox
from stream.frames import EventKind
from stream.integrations.delivery import FIRST_DELAY_S, Delivery, DeliveryStatus
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.push.devices import Devices
from stream.integrations.rules.matching import (
    CAMERA_KINDS,
    HOUR_S,
    Limits,
    concerns,
    is_in_zones,
    matches,
)
from stream.integrations.rules.message import Message, message_of
from stream.integrations.rules.senders import (
    AppriseSender,
    MqttSender,
    PushSender,
    Result,
    Sender,
    WebhookSender,
)
from stream.integrations.rules.store import RuleStore, new_id
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

Action = WebhookAction | AppriseAction | PushAction | MqttAction

MAX_TRIES = 60
"""Tries of a notification: about an hour, in which an internet connection usually comes back."""

MAX_RULES = 200
TEST_AMONG = 200
"""Newest events among which one is looked for that a rule would notify, for its test."""


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule with its state.

    Attributes:
        rule_id: the same over restarts and edits.
        config: settings, with secrets.
        is_configured: whether the configuration has it too.
        state: see `RuleState`.
        is_paused: whether it is switched off now.
        in_cooldown, over_limit: events since the start that were not notified because of either.
        labels: of its actions, in order, without secrets.
        deliveries: one for each action, in order.
    """

    rule_id: str
    config: RuleConfig
    is_configured: bool
    state: RuleState
    is_paused: bool
    in_cooldown: int
    over_limit: int
    labels: tuple[str, ...]
    deliveries: tuple[DeliveryStatus, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """Result of one action's test.

    Attributes:
        label: which action, without secrets.
        trouble: why it failed, one line; empty when it did not.
    """

    label: str
    trouble: str


class RuleDelivery(Delivery):
    """Delivers the events for which a rule fired, by one of its actions."""

    def __init__(
        self,
        key: str,
        *,
        rule_id: str,
        name: str,
        directory: Path,
        sender: Sender,
        compose: Callable[[LoggedEvent, bytes | None], Message],
        supervisor: Supervisor,
        first_delay_s: float,
    ) -> None:
        self.key = key
        self._rule_outbox = Outbox(directory, key, rule=rule_id)
        self._sender = sender
        self.sender_label = sender.label
        self._compose = compose
        try:
            super().__init__(
                f"notify-{key[-14:]}",
                label=f"{name}: {sender.label}",
                title=f"rule {name!r}, {sender.label}",
                kinds=(),
                outbox=self._rule_outbox,
                supervisor=supervisor,
                first_delay_s=first_delay_s,
                max_tries=MAX_TRIES,
            )
        except BaseException:
            self._rule_outbox.close()
            raise

    def send(self, event: LoggedEvent) -> Result:
        """Try once."""
        crop = None
        if event.has_crop:
            # The message is more than its picture.
            with suppress(EventLogError):
                crop = self._rule_outbox.crop(event.id)
        return self._sender.send(self._compose(event, crop))

    def close(self) -> None:
        """Release the sender."""
        self._sender.close()

    def discard(self) -> None:
        """Release all that it uses, instead of a start."""
        self._rule_outbox.close()
        self.close()


@dataclass(slots=True, eq=False)
class _Rule:
    """A rule in use."""

    config: RuleConfig
    limits: Limits
    deliveries: list[RuleDelivery]
    state: RuleState


class Rules:
    """The rules of a service, configured and made on the page; thread-safe.

    Their state is read without the lock, which is held while a busy database is waited for: the
    dictionary of rules is replaced at each change, never changed.

    Args:
        directory: the gallery's; its event log must have been opened before.
        configured: the rules of the configuration.
        notify: services, groups and addresses.
        zone: time zone of the rules' hours; None for the system's.
        devices: the phones and browsers that want notifications.
        broker: client of the MQTT broker; None if there is none.
        supervisor: restarts the threads of deliveries.
        wall_clock: seconds since 1970.
        first_delay_s: seconds from the first try of a delivery to the second.

    Raises:
        RuleStoreError: if the file of rules is unreadable or damaged.
        EventLogError: if the event log cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        configured: Sequence[RuleConfig],
        notify: NotifyConfig,
        *,
        zone: tzinfo | None,
        devices: Devices,
        broker: MqttClient | None,
        supervisor: Supervisor,
        wall_clock: Callable[[], float],
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self.devices = devices
        self._directory, self._notify, self._zone = directory, notify, zone
        self._broker, self._supervisor = broker, supervisor
        self._wall_clock, self._first_delay_s = wall_clock, first_delay_s
        self._store = RuleStore(directory, configured)
        self._firings = Firings(directory)
        self._lock = threading.RLock()
        self._ending: list[RuleDelivery] = []
        self._opening: list[RuleDelivery] = []
        self._rules: dict[str, _Rule] = {}
        with self._all_or_none():
            self._rules = {
                rule_id: self._opened(rule_id, config)
                for rule_id, config in self._store.rules().items()
            }
        self._catch_up()

    def _catch_up(self) -> None:
        """Offer the events that were logged when the process was killed, but not offered."""
        if not self._rules:
            self._firings.replace(forget=(), hooks=[HOOK])
            return
        outbox = Outbox(self._directory, HOOK)
        try:
            missed, _ = outbox.pending(frozenset(), limit=1000)
        finally:
            outbox.close()
        for event in missed:
            self.offer(event)

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Start the deliveries that are opened within, or release them if anything fails."""
        self._opening = []
        try:
            yield
        except BaseException:
            for each in self._opening:
                each.discard()
            used = {each.key for rule in self._rules.values() for each in rule.deliveries}
            new = [each.key for each in self._opening if each.key not in used]
            with suppress(EventLogError):
                self._firings.replace(forget=(), hooks=new)
            raise
        for each in self._opening:
            each.start()

    def _replace(
        self, wanted: Mapping[str, RuleConfig], keep: Callable[[], None] = lambda: None
    ) -> None:
        """Use other rules; where a step fails, all stays as it was.

        Args:
            wanted: all rules by id; the deliveries of unchanged actions stay.
            keep: stores them in a file.
        """
        before, after = self._rules, dict[str, _Rule]()
        with self._all_or_none():
            for rule_id, config in wanted.items():
                rule = before.get(rule_id)
                if rule is None or rule.config != config:
                    rule = self._opened(rule_id, config, rule)
                after[rule_id] = rule
            used = [each for rule in after.values() for each in rule.deliveries]
            ended = [
                each for rule in before.values() for each in rule.deliveries if each not in used
            ]
            keys = {each.key for each in used}
            self._firings.replace(
                forget=before.keys() - after.keys(),
                hooks=[
                    *(each.key for each in ended if each.key not in keys),
                    *([HOOK] if before and not after else []),
                ],
                is_first=not before and bool(after),
                keep=keep,
            )
            self._rules = after
        self._end(ended)

    def _configs(self) -> dict[str, RuleConfig]:
        return {rule_id: rule.config for rule_id, rule in self._rules.items()}

    def _opened(self, rule_id: str, config: RuleConfig, before: "_Rule | None" = None) -> "_Rule":
        """Return a rule in use; the deliveries of unchanged actions stay."""
        limits = Limits(cooldown_s=config.cooldown_s, max_per_hour=config.max_per_hour)
        since = self._wall_clock() - max(config.cooldown_s, HOUR_S)
        for event in self._firings.recent(rule_id, since=since):
            limits.add(event)
        old = {each.key: each for each in before.deliveries} if before else {}
        if before is not None and before.config.name != config.name:
            old = {}
        deliveries = []
        for action, key in zip(config.then, _keys(rule_id, config.then), strict=True):
            delivery = old.pop(key, None)
            deliveries.append(delivery or self._delivery(rule_id, config.name, action, key))
        return _Rule(config, limits, deliveries, self._firings.state(rule_id))

    def _delivery(self, rule_id: str, name: str, action: Action, key: str) -> RuleDelivery:
        sender = self._sender(action)
        try:
            delivery = RuleDelivery(
                key,
                rule_id=rule_id,
                name=name,
                directory=self._directory,
                sender=sender,
                compose=lambda event, crop: self._message(event, name, crop),
                supervisor=self._supervisor,
                first_delay_s=self._first_delay_s,
            )
        except BaseException:
            sender.close()
            raise
        self._opening.append(delivery)
        return delivery

    def _sender(self, action: Action) -> Sender:
        match action:
            case WebhookAction():
                return WebhookSender(action)
            case AppriseAction():
                url = self._notify.services.get(action.service)
                return AppriseSender(action, url, supervisor=self._supervisor)
            case PushAction():
                return PushSender(
                    action,
                    self.devices,
                    contact=self._notify.contact,
                    wall_clock=self._wall_clock,
                )
            case MqttAction():
                return MqttSender(action, self._broker)

    def _message(self, event: LoggedEvent, rule: str, crop: bytes | None) -> Message:
        return message_of(
            event, rule=rule, crop=crop, page_url=self._notify.page_url, zone=self._zone
        )

    @property
    def services(self) -> list[str]:
        """The names of the services that rules can use."""
        return sorted(self._notify.services)

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The groups of people that rules can use."""
        return self._notify.groups

    @property
    def has_broker(self) -> bool:
        """Whether rules can publish to an MQTT broker."""
        return self._broker is not None

    def offer(self, event: LoggedEvent) -> None:
        """Notify an event where rules want it; in the journal's thread, returns soon."""
        with self._lock:
            if not self._rules:
                return
            fired = {
                rule_id: rule for rule_id, rule in self._rules.items() if self._fires(rule, event)
            }
            try:
                self._firings.record(event, list(fired))
            except EventLogError as error:
                logger.error("notifications of event %d are lost at a stop: %s", event.id, error)
            for rule in fired.values():
                rule.limits.add(event)
                state = rule.state
                rule.state = RuleState(state.fired + 1, event.at, state.paused_until)
                for delivery in rule.deliveries:
                    delivery.offer(event)

    def _fires(self, rule: _Rule, event: LoggedEvent) -> bool:
        return (
            not self._is_paused(rule.state)
            and matches(rule.config, event, groups=self._notify.groups, zone=self._zone)
            and rule.limits.allows(event)
        )

    def _is_paused(self, state: RuleState) -> bool:
        return state.paused_until is not None and self._wall_clock() < state.paused_until

    def statuses(self) -> list[RuleStatus]:
        """Return every rule with its state; does not block."""
        return [self._status(rule_id, rule) for rule_id, rule in self._rules.items()]

    def status(self, rule_id: str) -> RuleStatus:
        """Return a rule with its state; does not block.

        Raises:
            UnknownRuleError: if there is none.
        """
        rule = self._rules.get(rule_id)
        if rule is None:
            raise UnknownRuleError(rule_id)
        return self._status(rule_id, rule)

    def _status(self, rule_id: str, rule: _Rule) -> RuleStatus:
        return RuleStatus(
            rule_id=rule_id,
            config=rule.config,
            is_configured=self._store.is_configured(rule_id),
            state=rule.state,
            is_paused=self._is_paused(rule.state),
            in_cooldown=rule.limits.n_in_cooldown,
            over_limit=rule.limits.n_over_limit,
            labels=tuple(each.sender_label for each in rule.deliveries),
            deliveries=tuple(each.status() for each in rule.deliveries),
        )

    def add(self, rule: RuleConfig) -> str:
        """Add a rule, for the next start too; return its id.

        Raises:
            ConfigError: if its name is taken, or it names a group or service that does not exist.
            RuleStoreError, EventLogError: if it cannot be stored; then the rules stay as they are.
        """
        with self._lock:
            self._check(rule, others=self._rules)
            if len(self._rules) >= MAX_RULES:
                raise ConfigError(f"there are {MAX_RULES} rules already: remove one first")
            rule_id = new_id()
            self._replace(
                {**self._configs(), rule_id: rule}, lambda: self._store.put(rule_id, rule)
            )
            return rule_id

    def change(self, rule_id: str, rule: RuleConfig) -> None:
        """Change a rule, for the next start too; see `add` for errors."""
        with self._lock:
            self._store.get(rule_id)
            self._check(rule, others=[each for each in self._rules if each != rule_id])
            self._replace(
                {**self._configs(), rule_id: rule}, lambda: self._store.put(rule_id, rule)
            )

    def remove(self, rule_id: str) -> None:
        """Remove a rule with all that it has pending; see `status` and `add` for errors."""
        with self._lock:
            self._store.get(rule_id)
            wanted = self._configs()
            del wanted[rule_id]
            self._replace(wanted, lambda: self._store.put(rule_id, None))

    def reconfigure(self, configured: Sequence[RuleConfig]) -> None:
        """Take in the rules of an edited configuration; what waits for unchanged actions stays.

        Raises:
            ConfigError: if one names a group or service that the service did not start with.
            RuleStoreError: if the file of rules is unreadable or damaged.
            EventLogError: if the event log cannot be written; then the rules stay as they are.
        """
        with self._lock:
            try:
                check_rules(configured, self._notify)
            except ValueError as error:
                raise ConfigError(f"{error}, and restart") from None
            store = RuleStore(self._directory, configured)
            self._replace(store.rules())
            self._store = store

    def _check(self, rule: RuleConfig, *, others: Iterable[str]) -> None:
        names = {self._rules[each].config.name for each in others}
        if rule.name in names:
            raise ConfigError(f"there is a rule named {rule.name!r} already: choose another name")
        try:
            check_rules([rule], self._notify)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def _end(self, deliveries: Iterable[RuleDelivery]) -> None:
        """Stop deliveries; each releases what it uses once its thread has ended."""
        for delivery in self._ending:
            delivery.join(0)
        self._ending = [each for each in self._ending if each.is_alive]
        for delivery in deliveries:
            delivery.stop()
            self._ending.append(delivery)

    def pause(self, rule_id: str, seconds: float | None) -> None:
        """Switch a rule off.

        Args:
            rule_id: of the rule.
            seconds: for how long; infinity for until it is switched on; None to switch it on.

        Raises:
            UnknownRuleError: if there is none.
            EventLogError: if it cannot be stored.
        """
        with self._lock:
            self._store.get(rule_id)
            until = None if seconds is None else self._wall_clock() + seconds
            self._firings.pause(rule_id, until)
            rule = self._rules[rule_id]
            rule.state = RuleState(rule.state.fired, rule.state.last_at, until)

    def test(self, rule_id: str) -> list[Tested]:
        """Send the newest event that a rule would notify, or an example; each action once. Blocks.

        Raises:
            UnknownRuleError: if there is none.
        """
        with self._lock:
            rule = self._store.get(rule_id)
            event, crop = self._example(rule)
        message = self._message(event, rule.name, crop)
        results = []
        for action in rule.then:
            sender = self._sender(action)
            try:
                trouble, _ = sender.send(message)
            finally:
                sender.close()
            results.append(Tested(sender.label, trouble))
        return results

    def _example(self, rule: RuleConfig) -> tuple[LoggedEvent, bytes | None]:
        with suppress(EventLogError):
            kinds = [*rule.kinds, EventKind.ZONE] if rule.zones else rule.kinds
            for event in self._firings.newest(kinds, limit=TEST_AMONG):
                is_here = not rule.cameras or event.camera in rule.cameras
                if (is_here and is_in_zones(rule.zones, event)) and (
                    event.kind in CAMERA_KINDS or concerns(rule.who, event, self._notify.groups)
                ):
                    return event, self._firings.crop(event.id)
        kind = rule.kinds[0]
        is_named = kind in (EventKind.ENTER, EventKind.EXIT, EventKind.RENAMED)
        now = datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="milliseconds")
        return LoggedEvent(
            id=0,
            kind=kind,
            camera=next((each for each in rule.cameras if CAMERA_NAME.fullmatch(each)), "example"),
            at=now.replace("+00:00", "Z"),
            track_id=None if kind in CAMERA_KINDS else "example-1",
            name="Ada Lovelace" if is_named else None,
            identity_id=None,
            similarity=0.71 if is_named else None,
            has_crop=False,
            previous_name=None,
            detail="this is a test" if kind in CAMERA_KINDS else "",
            zones=rule.zones[:1],
        ), None

    def problems(self, *, zones: Collection[str], is_admin: bool = True) -> list[str]:
        """Return what fails, one line for each delivery and for each zone that nobody can enter.

        Args:
            zones: of all cameras.
            is_admin: whether the lines name receivers, and why they fail.
        """
        lines = [
            f"rule {rule.config.name!r} is of zone {zone!r}, which no camera has: add it to a "
            "camera, or change the rule"
            for rule in self.statuses()
            for zone in rule.config.zones
            if zone not in zones
        ]
        return lines + [
            f"notification {status.label} {status.trouble}: {status.waiting} wait, "
            f"{status.dead} were given up"
            if is_admin
            else f"rule {rule.config.name!r}: {action.type} fails"
            for rule in self.statuses()
            for action, status in zip(rule.config.then, rule.deliveries, strict=True)
            if status.trouble
        ]

    def waiting(self) -> int:
        """Return the number of pending notifications."""
        return sum(each.waiting for rule in self.statuses() for each in rule.deliveries)

    def stop(self) -> None:
        """Ask all threads to end after the current try; what is pending is kept."""
        with self._lock:
            for rule in self._rules.values():
                self._end(rule.deliveries)

    def join(self, left_s: Callable[[], float]) -> None:
        """Wait for the ends of the threads, after `stop`.

        Args:
            left_s: seconds for which it may still wait.
        """
        for delivery in self._ending:
            delivery.join(max(0.0, left_s()))
        self._firings.close()


def _keys(rule_id: str, actions: Sequence[Action]) -> list[str]:
    """Return the keys of a rule's deliveries: the same while an action is unchanged."""
    texts = [action.model_dump_json() for action in actions]
    return [
        f"{OF_RULES}-{rule_id}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        f"-{texts[:number].count(text)}"
        for number, text in enumerate(texts)
    ]
