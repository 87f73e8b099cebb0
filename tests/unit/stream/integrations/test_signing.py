import base64

import pytest

from stream.config import WebhookConfig
from stream.integrations.signing import delivery_id, legacy_signature, signature
from tests.integration.test_webhooks import event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def key_of(secret: str) -> bytes:
    return WebhookConfig(url="http://a/", secret=secret).key


def test_the_signature_is_that_of_the_published_libraries() -> None:
    # The example in the tests of https://github.com/standard-webhooks/standard-webhooks
    signed = signature(
        key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "changed",
    [
        (b"other", "id", "1", b"{}"),
        (b"key", "id2", "1", b"{}"),
        (b"key", "id", "2", b"{}"),
        (b"key", "id", "1", b""),
    ],
)
def test_the_signature_covers_key_id_time_and_body(changed: tuple[bytes, str, str, bytes]) -> None:
    assert signature(*changed) != signature(b"key", "id", "1", b"{}")


def test_a_plain_secret_is_the_key_as_utf8() -> None:
    assert key_of("größe") == "größe".encode()
    encoded = "whsec_" + base64.b64encode(b"a plain secret of 25 bytes").decode()
    assert key_of(encoded) == key_of("a plain secret of 25 bytes")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_hunter2", "whsec_aHVudGVyMg==", "whsec_ü"])
def test_an_encoded_secret_that_is_no_key_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="base64 of 24 to 64 bytes"):
        key_of(secret)


def test_a_delivery_is_known_by_its_event_and_time() -> None:
    assert delivery_id(event(7)) == "evt_7_20261124T100000000Z"
    assert delivery_id(event(8)) != delivery_id(event(7))


def test_the_deprecated_signature_is_what_openssl_makes_of_it() -> None:
    # printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
    assert legacy_signature("secret", "1700000000", b'{"a":1}') == (
        "sha256=" + "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
    )
