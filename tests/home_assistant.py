"""A real Home Assistant for tests: 2024.3.3 without its page, in an environment of its own.

`scripts/home_assistant` installs it.
"""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.mosquitto import Mosquitto
from tests.ports import HeldPort

VERSION = "2024.3.3"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
HOME = Path(
    os.environ.get("FACEWIRE_HOME_ASSISTANT") or CACHE / f"facewire/home-assistant-{VERSION}"
)

SETTINGS = """
homeassistant: {{name: Test, latitude: 0, longitude: 0, elevation: 0, unit_system: metric,
  time_zone: UTC}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
api:
logger: {{default: warning}}
"""

# Home Assistant ends where its page is missing, which is large and of no use here.
PAGE = """
async def async_setup(hass, config):
    return True

def async_register_built_in_panel(*args, **kwargs):
    pass
"""

KEY, REFRESH = "k" * 128, "refresh"


class HomeAssistant:
    """Home Assistant on a port of 127.0.0.1.

    Args:
        directory: empty; its configuration.
        port: of its API.
        broker: the MQTT broker.
    """

    def __init__(self, directory: Path, port: int, broker: Mosquitto) -> None:
        self._directory = directory
        self.log = directory / "output.log"
        _configure(directory, port, broker)
        self._client = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}/api",
            headers={"Authorization": f"Bearer {_token()}"},
            trust_env=False,
            timeout=60,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until its API answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [HOME / "bin/hass", "--config", self._directory, "--skip-pip"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 180
        while True:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            try:
                if self._client.get("/").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it for good, without what it would save."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._client.close()

    def states(self) -> dict[str, Any]:
        """Return the state of every entity: `state` and `attributes`, by entity id."""
        return {each["entity_id"]: each for each in self._client.get("/states").json()}

    def state(self, entity_id: str) -> str:
        """Return the state of an entity; empty if there is none."""
        return str(self.states().get(entity_id, {}).get("state", ""))

    def call(self, domain: str, service: str, entity_id: str) -> None:
        """Call a service, such as switch.turn_off."""
        self._client.post(
            f"/services/{domain}/{service}", json={"entity_id": entity_id}
        ).raise_for_status()

    def complaints(self) -> list[str]:
        """Return the lines of its log about MQTT."""
        return [
            line
            for line in self.log.read_text().splitlines()
            if "components.mqtt" in line and ("WARNING" in line or "ERROR" in line)
        ]


def _configure(directory: Path, port: int, broker: Mosquitto) -> None:
    """Write what a person would set up on the page: an owner with a token, and the broker."""
    storage, page = directory / ".storage", directory / "custom_components/frontend"
    storage.mkdir(parents=True)
    page.mkdir(parents=True)
    (directory / "configuration.yaml").write_text(SETTINGS.format(port=port))
    (page / "__init__.py").write_text(PAGE)
    manifest = {"domain": "frontend", "name": "none", "version": "1", "codeowners": []}
    (page / "manifest.json").write_text(
        json.dumps({**manifest, "dependencies": [], "requirements": [], "documentation": ""})
    )
    user = {"id": "user", "group_ids": ["system-admin"], "name": "Owner"}
    flags = {"is_owner": True, "is_active": True, "system_generated": False, "local_only": False}
    refresh = {
        "id": REFRESH,
        "user_id": "user",
        "client_id": None,
        "client_name": "test",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": "2024-01-01T00:00:00+00:00",
        "access_token_expiration": 315360000.0,
        "token": "t" * 128,
        "jwt_key": KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "credential_id": None,
        "version": VERSION,
    }
    login = {"username": broker.user, "password": broker.password} if broker.user else {}
    entry = {
        "entry_id": "broker",
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "broker",
        "data": {"broker": "127.0.0.1", "port": broker.port, **login},
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
    }
    stored: dict[str, tuple[int, Any]] = {
        "auth": (
            1,
            {
                "users": [{**user, **flags}],
                "groups": [
                    {"id": f"system-{name}", "name": name}
                    for name in ("admin", "users", "read-only")
                ],
                "credentials": [],
                "refresh_tokens": [refresh],
            },
        ),
        "core.config_entries": (1, {"entries": [entry]}),
        "onboarding": (4, {"done": ["user", "core_config", "analytics", "integration"]}),
    }
    for key, (version, data) in stored.items():
        document = {"version": version, "minor_version": 1, "key": key, "data": data}
        (storage / key).write_text(json.dumps(document))


def _token() -> str:
    """Return a token of the owner: a JWT, RFC 7519, signed by HS256."""
    now = int(time.time())
    parts = [
        {"alg": "HS256", "typ": "JWT"},
        {"iss": REFRESH, "iat": now - 60, "exp": now + 10**6},
    ]
    signed = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def home_assistant(directory: Path, broker: Mosquitto) -> Iterator[HomeAssistant]:
    """Yield a running Home Assistant that is connected to a broker; skip where there is none."""
    if not (HOME / "bin/hass").exists():
        pytest.skip("no Home Assistant: scripts/home_assistant")
    with HeldPort() as held:
        running = HomeAssistant(directory, held.port, broker)
        try:
            yield running
        finally:
            running.close()
