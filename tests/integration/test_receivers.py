"""The receivers in docs/receivers against the real sender, and against forgeries."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx2
import pytest

from stream.frames import EventKind
from stream.integrations.signing import signature
from tests.e2e.harness import require
from tests.integration.test_webhooks import event, hooked, until

pytestmark = pytest.mark.integration

RECEIVERS = Path(__file__).parents[2] / "docs" / "receivers"
SECRETS = ["a plain secret, größer", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
KEY = b"plain"
BODY = b'{"event": {"at": "now", "camera": "door", "kind": "enter", "name": "Ada"}}'


@contextmanager
def receiver(program: str, secret: str) -> Iterator[tuple[str, IO[str]]]:
    """Run one as the docs say; yields its address and its output."""
    command = {"receiver.py": sys.executable, "receiver.mjs": shutil.which("node")}[program]
    require("" if command else "no node: apt-get install nodejs")
    with subprocess.Popen(
        [str(command), str(RECEIVERS / program), "0"],
        env={**os.environ, "FACEWIRE_WEBHOOK_SECRET": secret, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], process.stdout
        finally:
            process.kill()


@pytest.fixture(params=["receiver.py", "receiver.mjs"])
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("secret", SECRETS)
def test_what_the_service_sends_is_accepted(program: str, secret: str) -> None:
    with (
        receiver(program, secret) as (url, output),
        hooked(url, secret=secret, wall_clock=time.time) as webhook,
    ):
        for number in (7, 8, 7):  # the third is a repetition
            webhook.offer(event(number))
        until(lambda: webhook.status().delivered == 3)
        assert output.readline() == output.readline() == "2026-11-24T10:00:00.000Z door enter Zoë\n"
        webhook.offer(event(9, EventKind.EXIT))
        assert output.readline().split()[2] == "exit"


def test_an_old_delivery_and_another_secret_are_refused(program: str) -> None:
    with receiver(program, "secret") as (url, _):
        # The clock of these tests stands in 2023.
        with hooked(url, secret="secret") as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().dead == 1)
            assert webhook.status().trouble == "answers with status 401"
        with hooked(url, secret="Secret", wall_clock=time.time) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().dead == 1)
        with hooked(url, wall_clock=time.time) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().dead == 1)


def test_forgeries_are_refused(program: str) -> None:
    now = str(int(time.time()))
    good = signature(KEY, "id", now, BODY)
    named = {"webhook-id": "id", "webhook-timestamp": now, "webhook-signature": good}
    with receiver(program, KEY.decode()) as (url, output), httpx2.Client(trust_env=False) as client:

        def status(body: bytes = BODY, **changed: str) -> int:
            headers = {**named, **{f"webhook-{key}": value for key, value in changed.items()}}
            raw = {key.encode(): value.encode() for key, value in headers.items()}
            return client.post(url, content=body, headers=raw).status_code

        assert status(BODY.replace(b"Ada", b"Eve")) == 401
        assert status(id="id2") == 401
        assert status(id="") == 401
        assert status(timestamp=str(int(now) + 1)) == 401
        assert status(timestamp="now") == 401
        for ahead in (-330, 3600):
            at = str(int(now) + ahead)
            assert status(timestamp=at, signature=signature(KEY, "id", at, BODY)) == 401
        for each in ("", "v1,", "v1,é", good[3:], f"v2{good[2:]}", "v1,AAAA"):
            assert status(signature=each) == 401
        with suppress(httpx2.TransportError):  # it may close before all is sent
            assert status(b"x" * 1_100_000) == 413
        assert status(signature=f"v1,AAAA {good}") == 204
        assert output.readline() == "now door enter Ada\n"
