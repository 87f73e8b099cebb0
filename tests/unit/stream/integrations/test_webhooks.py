import pytest

from stream.integrations.webhooks import LONGEST_DELAY_S, MAX_TRIES, retry_delay, signature


def test_delays_double_up_to_a_minute() -> None:
    delays = [retry_delay(attempt) for attempt in range(20)]
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(delays) == LONGEST_DELAY_S
    assert sum(delays[: MAX_TRIES - 1]) > 120, "a receiver may restart for two minutes"


@pytest.mark.parametrize("changed", [("other", "1", b"{}"), ("key", "2", b"{}"), ("key", "1", b"")])
def test_the_signature_covers_secret_time_and_body(changed: tuple[str, str, bytes]) -> None:
    assert signature(*changed) != signature("key", "1", b"{}")


def test_the_signature_is_what_openssl_makes_of_it() -> None:
    # printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
    assert signature("secret", "1700000000", b'{"a":1}') == (
        "sha256=" + "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
    )
