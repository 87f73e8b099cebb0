"""The phones and browsers that want notifications, and the service's key for push services.

Both are in push.json in the gallery's directory, which only its owner can read: with the key,
others could send notifications in the service's name.
"""

import errno
import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gallery.private_files import keep_private
from recognizer import read_file
from stream.config_file import MAX_BYTES
from stream.errors import RuleStoreError, RuleStoreFullError, TooManyDevicesError
from stream.http_address import parse_http_address
from stream.integrations.push.encryption import (
    AUTH_SIZE,
    PrivateKey,
    check_point,
    from_text,
    key_of_pem,
    key_to_pem,
    new_key,
    point_of,
    to_text,
)
from stream.private_text import write_private

FILE_NAME = "push.json"
MAX_DEVICES = 100
MAX_OF_VIEWERS = 50
"""Devices of viewers among them: the others stay for administrators."""

VIEWER = "viewer"

PUSH_SERVICES = (
    "fcm.googleapis.com",
    "push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)
"""Hosts, and parents of hosts, of the push services of browsers."""


class Device(BaseModel):
    """One browser's subscription.

    Attributes:
        device_id: derived from the endpoint.
        name: for people, such as "Chrome on Android".
        endpoint: address of the browser's push service; with the keys it permits pushing.
        p256dh: the browser's public key, base64url.
        auth: its authentication secret, base64url.
        role: of the person who subscribed.
        token: proof of the token that gave the role; another token ends the subscription.
        added_at: ISO 8601 in UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device_id: str
    name: str
    endpoint: str
    p256dh: str
    auth: str
    role: str
    token: str
    added_at: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    devices: tuple[Device, ...] = ()


FILE = TypeAdapter(_File)


def device_id_of(endpoint: str) -> str:
    """Return the id of the device with an endpoint."""
    return hashlib.sha256(endpoint.encode()).hexdigest()[:32]


def check_subscription(endpoint: str, p256dh: str, auth: str, *, any_host: bool) -> None:
    """Check what a browser subscribed with.

    Args:
        endpoint: address of its push service.
        p256dh: public key, base64url.
        auth: authentication secret, base64url.
        any_host: whether the push service may be any; else one of the browsers', over https:// at
            its usual port.

    Raises:
        ValueError: if it cannot be used; the message says what is wrong.
    """
    url = parse_http_address(endpoint)
    is_local = url.host in ("127.0.0.1", "localhost", "::1")
    if url.scheme != "https" and not is_local:
        raise ValueError("endpoint must begin with https://")
    is_known = (url.scheme, url.port) == ("https", None) and any(
        url.host == host or url.host.endswith(f".{host}") for host in PUSH_SERVICES
    )
    if not any_host and not is_known:
        raise ValueError("endpoint must be of a browser's push service: ask an administrator")
    try:
        check_point(from_text(p256dh))
    except ValueError:
        raise ValueError("p256dh must be a public key of P-256 in base64url") from None
    try:
        size = len(from_text(auth))
    except ValueError:
        size = 0
    if size != AUTH_SIZE:
        raise ValueError(f"auth must be {AUTH_SIZE} bytes in base64url")


class Devices:
    """The subscribed devices of a service; thread-safe.

    Args:
        directory: the gallery's.
        tokens: of the service by role; roles without one need none.
        wall_clock: seconds since 1970.

    Raises:
        RuleStoreError: if the file is unreadable or damaged.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tokens: Mapping[str, str | None],
        wall_clock: Callable[[], float],
    ) -> None:
        self._path = directory / FILE_NAME
        self._proofs = {role: _proof(token) for role, token in tokens.items()}
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._key: PrivateKey | None = None
        self._devices: dict[str, Device] = {}
        keep_private(self._path)
        try:
            file = FILE.validate_json(read_file(self._path, max_bytes=MAX_BYTES))
            self._key = key_of_pem(file.key)
        except FileNotFoundError:
            return
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise RuleStoreError(f"cannot read {self._path}: {why}") from error
        except (ValidationError, ValueError):
            raise RuleStoreError(
                f"{self._path} is damaged or of another version: move it away, and let phones "
                "subscribe again"
            ) from None
        self._devices = {
            each.device_id: each
            for each in file.devices
            if self._proofs.get(each.role) == each.token
        }

    @property
    def public_key(self) -> str:
        """The key that browsers subscribe with, base64url; made at the first use."""
        return to_text(point_of(self.key()))

    def key(self) -> PrivateKey:
        """Return the service's private key; made at the first use.

        Raises:
            RuleStoreError: if it cannot be stored.
        """
        with self._lock:
            if self._key is None:
                key = new_key()
                self._write(key, self._devices)
                self._key = key
            return self._key

    def all(self) -> list[Device]:
        """Return every device, the oldest first."""
        with self._lock:
            return list(self._devices.values())

    def add(self, *, name: str, endpoint: str, p256dh: str, auth: str, role: str) -> Device:
        """Add a checked subscription; one of the same browser is replaced.

        Raises:
            TooManyDevicesError: if there are `MAX_DEVICES` others, or of viewers `MAX_OF_VIEWERS`.
            RuleStoreError: if it cannot be stored.
        """
        key = self.key()
        added_at = datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="seconds")
        device = Device(
            device_id=device_id_of(endpoint),
            name=name,
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            role=role,
            token=self._proofs.get(role, ""),
            added_at=added_at.replace("+00:00", "Z"),
        )
        with self._lock:
            devices = {**self._devices, device.device_id: device}
            if len(devices) > MAX_DEVICES:
                raise TooManyDevicesError(
                    f"{MAX_DEVICES} devices are notified already: remove one first"
                )
            of_viewers = sum(each.role == VIEWER for each in devices.values())
            if role == VIEWER and of_viewers > MAX_OF_VIEWERS:
                raise TooManyDevicesError(
                    f"{MAX_OF_VIEWERS} devices of viewers are notified already: remove one first"
                )
            self._write(key, devices)
            self._devices = devices
        return device

    def remove(self, device_id: str) -> bool:
        """Remove a device; return whether there was one.

        Raises:
            RuleStoreError: if that cannot be stored.
        """
        key = self.key()
        with self._lock:
            devices = {each: device for each, device in self._devices.items() if each != device_id}
            if len(devices) == len(self._devices):
                return False
            self._write(key, devices)
            self._devices = devices
        return True

    def _write(self, key: PrivateKey, devices: Mapping[str, Device]) -> None:
        file = _File(key=key_to_pem(key), devices=tuple(devices.values()))
        try:
            write_private(self._path, FILE.dump_json(file, indent=2).decode() + "\n")
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = RuleStoreFullError if is_full else RuleStoreError
            raise kind(f"cannot save the devices to {self._path}: {error.strerror}") from error


def _proof(token: str | None) -> str:
    """Return what proves that a token is still the same, without revealing it."""
    return hmac.new((token or "").encode(), b"facewire push", hashlib.sha256).hexdigest()
