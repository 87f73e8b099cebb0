"""Ways in which a notification is sent: one try each, whose errors quote no secret."""

import base64
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import cv2
import numpy as np

from stream.config.rules import (
    AppriseAction,
    MqttAction,
    PushAction,
    WebhookAction,
)
from stream.errors import RuleStoreError, WorkerError
from stream.http_address import origin, parse_http_address
from stream.integrations.http_post import HttpPost, PostError
from stream.integrations.mqtt.client import MqttClient, MqttUnavailableError
from stream.integrations.push.devices import Device, Devices
from stream.integrations.push.encryption import MAX_PAYLOAD, authorization, encrypt, from_text
from stream.integrations.rules.message import (
    Message,
    as_is,
    event_route,
    fill,
    for_json,
    for_line,
    for_topic,
    for_url,
    header_of,
)
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

DEADLINE_S = 10.0
APPRISE_DEADLINE_S = 30.0
"""Seconds for one try; Apprise may send several requests for one message."""

WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
GONE = frozenset({404, 410})
"""Answers of a push service whose subscription has ended (RFC 8030, 7.3)."""

PUSH_TTL_S = 3600
"""Seconds for which a push service keeps a message for a phone that is off."""

MAX_TRIES_OF_REST = 5
"""Tries of an event for each other device, once one device has accepted it."""

ICON_PX = 72
ICON_QUALITY = 60
"""The picture is in the message, of which push services take 4 KiB; about 1.5 KiB."""

WORDS: Mapping[int, str] = {
    400: "does not accept the message (status 400): check the template",
    401: "refuses the sign-in (status 401): check the token or password",
    403: "refuses access (status 403): check the token and its permissions",
    404: "has nothing at this address (status 404): check the address",
    405: "does not take a POST at this address (status 405): check the address",
    413: "finds the message too large (status 413)",
    429: "wants fewer messages (status 429)",
}

Result = tuple[str, bool]
"""What went wrong, in one line, empty for nothing; and whether another try is useless."""


class Sender(Protocol):
    """Sends messages in one way; for one thread at a time.

    Attributes:
        label: which way, without secrets.
    """

    label: str

    def send(self, message: Message) -> Result:
        """Try once."""

    def close(self) -> None:
        """Release what it uses; safe to call twice."""


def result_of(status: int) -> Result:
    """Return the result of a POST by the status of its answer."""
    if 200 <= status < 300:
        return "", False
    is_final = 300 <= status < 500 and status not in WORTH_ANOTHER_TRY
    return WORDS.get(status, f"answers with status {status}"), is_final


class WebhookSender:
    """Posts to any address."""

    def __init__(self, action: WebhookAction) -> None:
        self._action = action
        url = parse_http_address(fill_sample(action.url))
        self.label = f"webhook at {origin(url)}"
        self._post = HttpPost(url, deadline_s=DEADLINE_S)

    def send(self, message: Message) -> Result:
        """Post once."""
        action, values = self._action, message.values
        body, kind = self._body(message)
        headers = {"Content-Type": kind} | {
            name: header_of(fill(value, values, for_line)) for name, value in action.headers.items()
        }
        try:
            url = parse_http_address(fill(action.url, values, for_url))
        except ValueError as error:
            return f"its address {error}", True
        try:
            return result_of(self._post(body, headers, url=url))
        except PostError as error:
            return str(error), False

    def _body(self, message: Message) -> tuple[bytes, str]:
        action = self._action
        if action.format == "crop" and message.crop is not None:
            return message.crop, "image/jpeg"
        if action.format == "json":
            template = action.body
            text = fill(template, message.values, for_json) if template else message.json()
            return text.encode(errors="replace"), "application/json"
        text = fill(action.body or "{text}", message.values, as_is)
        return text.encode(errors="replace"), "text/plain; charset=utf-8"

    def close(self) -> None:
        """Release the client."""
        self._post.close()


def fill_sample(template: str) -> str:
    """Return a template with x for each placeholder."""
    return re.sub(r"\{[a-z_]+\}", "x", template)


class AppriseSender:
    """Sends by Apprise, in a thread of its own, which may take longer than the deadline.

    Args:
        action: title and message.
        url: address of the service, which holds secrets; None if there is none of this name.
        supervisor: of the thread.
        deadline_s: seconds for one try.
    """

    def __init__(
        self,
        action: AppriseAction,
        url: str | None,
        *,
        supervisor: Supervisor,
        deadline_s: float = APPRISE_DEADLINE_S,
    ) -> None:
        self._action, self._url, self._deadline_s = action, url, deadline_s
        self.label = f"Apprise service {action.service}"
        self._jobs = supervisor.jobs(f"apprise-{action.service}")

    def send(self, message: Message) -> Result:
        """Try once."""
        if self._url is None:
            return "is not in [notify.services] any more", True
        if self._jobs.n_waiting:
            return "is still busy with an earlier message", False
        try:
            return self._jobs.submit(self._notify, message).result(self._deadline_s)
        except TimeoutError:
            return "does not answer in time", False
        except (OSError, ValueError, TypeError, KeyError, AttributeError, WorkerError) as error:
            # Not its text, which may quote the address.
            return f"failed by {type(error).__name__}", False

    def _notify(self, message: Message) -> Result:
        try:
            import apprise
            from apprise.attachment.memory import AttachMemory
        except ImportError:
            return "needs Apprise: pip install '.[notify]'", True
        assert self._url is not None
        with _AnsweredStatus() as answered:
            service = apprise.Apprise.instantiate(self._url, suppress_exceptions=True)
            if not isinstance(service, apprise.NotifyBase):
                return "has an address that Apprise does not know: check it", True
            attachment = None
            if self._action.with_crop and message.crop is not None:
                attachment = apprise.AppriseAttachment()
                face = AttachMemory(  # type: ignore[no-untyped-call]
                    content=message.crop, name="face.jpg", mimetype="image/jpeg"
                )
                attachment.add(face)
            is_sent = service.notify(
                notify_type=apprise.NotifyType.INFO,
                title=fill(self._action.title, message.values, for_line),
                body=fill(self._action.body, message.values, as_is) or message.values["text"],
                attach=attachment,
            )
        if is_sent:
            return "", False
        if answered.status:
            return result_of(answered.status)
        return "did not accept the message, or cannot be reached: check its address", False

    def close(self) -> None:
        """End the thread once it has nothing to do; safe to call twice."""
        self._jobs.close(drop=True)


class _AnsweredStatus(logging.Handler):
    """Keeps Apprise's log away from ours, since it quotes addresses, except for the HTTP status."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.status = 0
        self._thread = threading.get_ident()
        self._logger = logging.getLogger("apprise")

    def __enter__(self) -> "_AnsweredStatus":
        self._logger.propagate = False
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Find the status in a line such as "Failed to send: Unauthorized, error=401."."""
        found = re.search(r"error=(\d{3})\b", record.getMessage())
        if found and record.thread == self._thread:
            self.status = int(found[1])


class PushSender:
    """Sends to every subscribed device; ended subscriptions are removed.

    A device that has accepted an event gets it no second time when another device fails. From then
    on the others have `MAX_TRIES_OF_REST` tries, and one try where the event before failed, too: a
    device that is away does not delay the next events of all.
    """

    label = "subscribed devices"

    def __init__(
        self,
        action: PushAction,
        devices: Devices,
        *,
        contact: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self._action, self._devices = action, devices
        self._contact, self._wall_clock = contact, wall_clock
        self._posts: dict[str, HttpPost] = {}
        self._event_id = -1
        self._accepted: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._failed_before: frozenset[str] = frozenset()

    def send(self, message: Message) -> Result:
        """Try once, each device that has not accepted the event yet."""
        devices = self._devices.all()
        if not devices:
            return "no device is subscribed: open Notifications on the phone", True
        if self._event_id != message.event.id:
            self._event_id = message.event.id
            self._accepted, self._tries = set(), Counter()
            self._failing.intersection_update(each.device_id for each in devices)
            self._failed_before = frozenset(self._failing)
        payload = push_payload(
            message,
            title=fill(self._action.title, message.values, for_line),
            body=fill(self._action.body, message.values, as_is),
        )
        troubles: list[tuple[str, str, bool]] = []
        n_gone = 0
        # Those that fail come last, since each of them may take as long as the deadline.
        for device in sorted(devices, key=lambda each: each.device_id in self._failing):
            device_id = device.device_id
            if device_id in self._accepted or self._is_tried_enough(device_id):
                continue
            trouble, is_final, is_gone = self._push(device, payload)
            if is_gone:
                n_gone += 1
            elif trouble:
                self._tries[device_id] += 1
                self._failing.add(device_id)
                troubles.append((device_id, f"{device.name}: {trouble}", is_final))
            else:
                if not self._accepted:
                    self._tries.clear()  # of a time in which perhaps none could be reached
                self._accepted.add(device_id)
                self._failing.discard(device_id)
        if n_gone == len(devices):
            return "the subscriptions of all devices have ended: subscribe again", True
        results = [
            (trouble, is_final or self._is_tried_enough(device_id))
            for device_id, trouble, is_final in troubles
        ]
        # One that is worth another try before the others.
        return min(results, key=lambda each: each[1], default=("", False))

    def _is_tried_enough(self, device_id: str) -> bool:
        most = 1 if device_id in self._failed_before else MAX_TRIES_OF_REST
        return bool(self._accepted) and self._tries[device_id] >= most

    def _push(self, device: Device, payload: bytes) -> tuple[str, bool, bool]:
        url = parse_http_address(device.endpoint)
        try:
            headers = {
                "Content-Encoding": "aes128gcm",
                "Content-Type": "application/octet-stream",
                "TTL": str(PUSH_TTL_S),
                "Urgency": "high",
                "Authorization": authorization(
                    self._devices.key(),
                    audience=origin(url),
                    contact=self._contact,
                    now=self._wall_clock(),
                ),
            }
        except RuleStoreError as error:
            return str(error), False, False
        body = encrypt(payload, point=from_text(device.p256dh), auth=from_text(device.auth))
        post = self._posts.get(device.endpoint)
        if post is None:
            post = self._posts[device.endpoint] = HttpPost(url, deadline_s=DEADLINE_S)
        try:
            status = post(body, headers)
        except PostError as error:
            return f"its push service {error}", False, False
        if status in GONE:
            logger.info("push: a device has unsubscribed (status %d) and is removed", status)
            try:
                self._devices.remove(device.device_id)
            except RuleStoreError as error:
                logger.warning("push: %s", error)
            return "", True, True
        trouble, is_final = result_of(status)
        return trouble and f"its push service {trouble}", is_final, False

    def close(self) -> None:
        """Release the clients."""
        for post in self._posts.values():
            post.close()


def push_payload(message: Message, *, title: str, body: str) -> bytes:
    """Return what the page's service worker shows, as JSON of at most 4 KiB with the picture."""
    document = {
        "title": title[:200],
        "body": body[:1000],
        "tag": f"facewire-{message.event.id}",
        "at": message.event.at,
        "url": event_route(message.event),
    }
    if message.crop is not None and (icon := _icon(message.crop)):
        with_icon = {**document, "icon": icon}
        if len(_json(with_icon)) <= MAX_PAYLOAD:
            return _json(with_icon)
    while len(_json(document)) > MAX_PAYLOAD:
        document["body"] = document["body"][: len(document["body"]) // 2]
        document["title"] = document["title"][:100]
    return _json(document)


def _json(document: Mapping[str, str]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def _icon(crop: bytes) -> str:
    image = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return ""
    small = cv2.resize(image, (ICON_PX, ICON_PX), interpolation=cv2.INTER_AREA)
    is_done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, ICON_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}" if is_done else ""


class MqttSender:
    """Publishes to the MQTT broker."""

    def __init__(self, action: MqttAction, broker: MqttClient | None) -> None:
        self._action, self._broker = action, broker
        self.label = f"MQTT topic {action.topic}"

    def send(self, message: Message) -> Result:
        """Publish once."""
        if self._broker is None:
            return "needs a broker: fill the section [mqtt] of the configuration", True
        template = self._action.payload
        payload = fill(template, message.values, for_json) if template else message.json()
        topic = fill(self._action.topic, message.values, for_topic)
        try:
            self._broker.deliver(topic, payload, timeout_s=DEADLINE_S)
        except MqttUnavailableError as error:
            return f"the broker {error}", False
        return "", False

    def close(self) -> None:
        """Do nothing: the client is the service's."""
