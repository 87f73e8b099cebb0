"""Encryption of Web Push messages, and the service's identification to push services.

Source: RFC 8291 (encryption), RFC 8188 (aes128gcm), RFC 8292 (VAPID).
"""

import base64
import json
import os
import struct

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RECORD_SIZE = 4096
MAX_PAYLOAD = RECORD_SIZE - 86 - 17
"""Bytes of a message: with header (86) and padding delimiter and tag (17) push services take 4096
(RFC 8030, 7.2)."""

POINT_SIZE, AUTH_SIZE, SALT_SIZE = 65, 16, 16
TOKEN_S = 12 * 3600
"""Seconds for which a token is valid; RFC 8292, 2 allows 24 hours."""

PrivateKey = ec.EllipticCurvePrivateKey


def to_text(data: bytes) -> str:
    """Return data in base64url without padding (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """Return the data of base64url text, with or without padding.

    Raises:
        ValueError: if it is none.
    """
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", True)


def new_key() -> PrivateKey:
    """Return a new private key of the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey) -> str:
    """Return a private key as PEM, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def key_of_pem(text: str) -> PrivateKey:
    """Return the private key of PEM.

    Raises:
        ValueError: if it is none of the curve P-256.
    """
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (TypeError, UnsupportedAlgorithm):
        raise ValueError("is no private key") from None
    if not isinstance(key, PrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("is no private key of P-256")
    return key


def point_of(key: PrivateKey) -> bytes:
    """Return the public key, an uncompressed point of 65 bytes."""
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def check_point(point: bytes) -> None:
    """Check a browser's public key.

    Raises:
        ValueError: if it is no uncompressed point of P-256.
    """
    if len(point) != POINT_SIZE:
        raise ValueError(f"must have {POINT_SIZE} bytes, has {len(point)}")
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def encrypt(
    payload: bytes,
    *,
    point: bytes,
    auth: bytes,
    key: PrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return a message in the content encoding aes128gcm, for one browser.

    Args:
        payload: at most `MAX_PAYLOAD` bytes.
        point: the browser's public key (p256dh), 65 bytes.
        auth: the browser's authentication secret, 16 bytes.
        key: a key of this message alone; a new one unless set.
        salt: 16 bytes; random unless set.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload must have at most {MAX_PAYLOAD} bytes, has {len(payload)}")
    key, salt = key or new_key(), salt or os.urandom(SALT_SIZE)
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    shared, own = key.exchange(ec.ECDH(), receiver), point_of(key)
    secret = _derive(shared, salt=auth, info=b"WebPush: info\x00" + point + own, length=32)
    cipher = AESGCM(_derive(secret, salt=salt, info=b"Content-Encoding: aes128gcm\x00", length=16))
    nonce = _derive(secret, salt=salt, info=b"Content-Encoding: nonce\x00", length=12)
    head = salt + struct.pack(">IB", RECORD_SIZE, len(own)) + own
    return head + cipher.encrypt(nonce, payload + b"\x02", None)


def _derive(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def authorization(key: PrivateKey, *, audience: str, contact: str, now: float) -> str:
    """Return the header Authorization for a push service.

    Args:
        key: of this service, whose public key the browser was given.
        audience: origin of the subscription's endpoint.
        contact: mailto: or https: address of who runs this service.
        now: seconds since 1970.
    """
    claims = {"aud": audience, "exp": int(now) + TOKEN_S, "sub": contact}
    parts = [
        to_text(json.dumps(each).encode()) for each in ({"typ": "JWT", "alg": "ES256"}, claims)
    ]
    signed = ".".join(parts)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    token = f"{signed}.{to_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    return f"vapid t={token},k={to_text(point_of(key))}"
