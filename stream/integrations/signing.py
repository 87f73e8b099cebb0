"""Signatures of webhook deliveries.

The key is `WebhookConfig.key`. Source: Standard Webhooks 1.0, "Signature scheme",
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac

from stream.events.log import LoggedEvent


def delivery_id(event: LoggedEvent) -> str:
    """Return the header webhook-id, such as evt_7_20261124T100000000Z.

    It is the same for each try. It includes the time because other installations, and a new event
    log, count their events from 1 too. It contains no dot, which separates signed parts.
    """
    return f"evt_{event.id}_" + "".join(letter for letter in event.at if letter.isalnum())


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the header webhook-signature.

    Args:
        key: of the HMAC-SHA256.
        message_id: the header webhook-id.
        timestamp: the header webhook-timestamp, seconds since 1970.
        body: as sent.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def legacy_signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the deprecated header Facewire-Signature, keyed with the secret as configured."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
