#!/usr/bin/env python3
"""Receives webhooks of facewire and verifies them; needs Python's standard library alone.

    FACEWIRE_WEBHOOK_SECRET=... python3 receiver.py [PORT]

Headers and signature are those of Standard Webhooks, https://www.standardwebhooks.com
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

TOLERANCE_S = 300
"""Seconds that a delivery may be old, or its clock ahead: older ones may be replayed by others."""

MAX_BYTES = 1_000_000
MAX_REMEMBERED = 10_000


def key_of(secret: str) -> bytes:
    """Return the key of a secret: the base64 after whsec_, or the bytes of any other text."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def is_genuine(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Return whether a delivery was signed with the key, and not long ago.

    Args:
        key: see `key_of`.
        headers: of the request.
        body: as it was received, before it is parsed.
        now: seconds since 1970.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit()):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = hmac.new(key, signed, hashlib.sha256).digest()
    # There are several while a secret is replaced, separated by spaces.
    for each in headers.get("webhook-signature", "").split():
        version, _, encoded = each.partition(",")
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if version == "v1" and hmac.compare_digest(given, expected):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to genuine deliveries and prints each event once."""

    timeout = 10
    key = b""
    seen: ClassVar[dict[str, None]] = {}

    def do_POST(self) -> None:
        """Receive one delivery; facewire tries again where the answer is not 2xx."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BYTES:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        if not is_genuine(self.key, self.headers, body, time.time()):
            self.send_error(401)
            return
        message_id = self.headers["webhook-id"]
        if message_id not in self.seen:  # it comes again where an answer was lost
            self.seen[message_id] = None
            if len(self.seen) > MAX_REMEMBERED:
                self.seen.pop(next(iter(self.seen)))
            self.receive(json.loads(body)["event"])
        self.send_response(204)
        self.end_headers()

    def receive(self, event: dict[str, object]) -> None:
        """Do with an event what it is for: here it is printed."""
        print(event["at"], event["camera"], event["kind"], event["name"] or "", flush=True)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing for each request."""


def main() -> None:
    """Listen on this machine."""
    secret = os.environ.get("FACEWIRE_WEBHOOK_SECRET")
    if not secret:
        sys.exit("set FACEWIRE_WEBHOOK_SECRET to the secret in facewire.toml")
    Receiver.key = key_of(secret)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"receiving on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
