"""Web Push messages, against the example of RFC 8291 and its rules."""

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from stream.integrations.push.devices import check_subscription
from stream.integrations.push.encryption import (
    MAX_PAYLOAD,
    authorization,
    encrypt,
    from_text,
    key_of_pem,
    key_to_pem,
    new_key,
    point_of,
    to_text,
)

# RFC 8291, appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
SERVER_KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
BROWSER_POINT = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
SALT, AUTH = "DGv6ra1nlYgDCS1FRnbzlw", "BTBZMqHH6r4Tts7J_aSIgg"
MESSAGE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_a_message_is_that_of_the_rfc() -> None:
    key = ec.derive_private_key(int.from_bytes(from_text(SERVER_KEY), "big"), ec.SECP256R1())
    message = encrypt(
        PLAINTEXT,
        point=from_text(BROWSER_POINT),
        auth=from_text(AUTH),
        key=key,
        salt=from_text(SALT),
    )
    assert to_text(message) == MESSAGE


def test_two_messages_differ_and_the_longest_fits() -> None:
    point, auth = from_text(BROWSER_POINT), from_text(AUTH)
    one, other = (encrypt(b"x" * MAX_PAYLOAD, point=point, auth=auth) for _ in range(2))
    assert len(one) == 4096
    assert one != other
    with pytest.raises(ValueError, match="at most 3993 bytes, has 3994"):
        encrypt(b"x" * (MAX_PAYLOAD + 1), point=point, auth=auth)


def test_the_token_is_signed_for_the_push_service() -> None:
    key = new_key()
    header = authorization(key, audience="https://push.example", contact="mailto:a@b", now=1000.5)
    assert header.startswith("vapid t=")
    token, public = header.removeprefix("vapid t=").split(",k=")
    assert from_text(public) == point_of(key)
    head, claims, signature = token.split(".")
    assert json.loads(from_text(head)) == {"typ": "JWT", "alg": "ES256"}
    assert json.loads(from_text(claims)) == {
        "aud": "https://push.example",
        "exp": 1000 + 12 * 3600,
        "sub": "mailto:a@b",
    }
    raw = from_text(signature)
    assert len(raw) == 64
    r, s = (int.from_bytes(part, "big") for part in (raw[:32], raw[32:]))
    signed = f"{head}.{claims}".encode()
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def test_a_key_survives_its_file() -> None:
    key = new_key()
    assert point_of(key_of_pem(key_to_pem(key))) == point_of(key)
    with pytest.raises(ValueError, match=r"no private key|Could not|Unable"):
        key_of_pem("nonsense")


@pytest.mark.parametrize(
    ("endpoint", "any_host", "problem"),
    [
        ("https://fcm.googleapis.com/fcm/send/x", False, ""),
        ("https://updates.push.services.mozilla.com/wpush/v2/x", False, ""),
        ("https://web.push.apple.com/x", False, ""),
        ("https://wns2-db5p.notify.windows.com/w/?token=x", False, ""),
        ("https://push.apple.com.evil.example/x", False, "a browser's push service"),
        ("https://192.0.2.1/x", False, "a browser's push service"),
        ("https://fcm.googleapis.com:8443/x", False, "a browser's push service"),
        ("https://fcm.googleapis.com:443/x", False, ""),
        ("http://fcm.googleapis.com/x", False, "must begin with https://"),
        ("http://localhost/x", False, "a browser's push service"),
        ("https://192.0.2.1/x", True, ""),
        ("http://192.0.2.1/x", True, "must begin with https://"),
        ("http://127.0.0.1:9/x", True, ""),
        ("file:///etc/passwd", True, "http"),
    ],
)
def test_endpoints_that_may_be_pushed_to(endpoint: str, any_host: bool, problem: str) -> None:
    if problem:
        with pytest.raises(ValueError, match=problem):
            check_subscription(endpoint, BROWSER_POINT, AUTH, any_host=any_host)
    else:
        check_subscription(endpoint, BROWSER_POINT, AUTH, any_host=any_host)


@pytest.mark.parametrize(
    ("p256dh", "auth", "problem"),
    [
        ("", AUTH, "p256dh must be"),
        ("BCVx", AUTH, "p256dh must be"),
        (to_text(b"\x04" + bytes(64)), AUTH, "p256dh must be"),
        ("!" * 87, AUTH, "p256dh must be"),
        (BROWSER_POINT, "", "auth must be 16 bytes"),
        (BROWSER_POINT, "BTBZ", "auth must be 16 bytes"),
        (BROWSER_POINT, "é", "auth must be 16 bytes"),
    ],
)
def test_keys_that_are_none(p256dh: str, auth: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_subscription("https://fcm.googleapis.com/x", p256dh, auth, any_host=False)
