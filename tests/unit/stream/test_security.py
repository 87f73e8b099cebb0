import pytest
from starlette.datastructures import Headers

from stream.security import (
    COOKIE,
    Attempts,
    is_allowed_host,
    is_authorised,
    is_token,
    session_of,
)

TOKEN = "correct horse battery"


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("", False),
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.168.1.20", True),
        ("cams.example", True),
        ("CAMS.example:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8080", False),
        ("[::1", False),
        ("@:/", False),
    ],
)
def test_host_must_be_ours(host, is_allowed):
    assert is_allowed_host(host, {"localhost", "cams.example"}) is is_allowed


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        ({}, False),
        ({"authorization": f"Bearer {TOKEN}"}, True),
        ({"authorization": f"bearer  {TOKEN} "}, True),
        ({"authorization": TOKEN}, False),
        ({"authorization": "Bearer "}, False),
        ({"authorization": "Bearer wrong"}, False),
        ({"authorization": f"Basic {TOKEN}"}, False),
        ({"cookie": f"{COOKIE}={session_of(TOKEN)}"}, True),
        ({"cookie": f"other=1; {COOKIE}={session_of(TOKEN)}"}, True),
        ({"cookie": f"{COOKIE}={TOKEN}"}, False),
        ({"cookie": f"{COOKIE}={session_of('another token')}"}, False),
        ({"cookie": f"{COOKIE}="}, False),
        ({"cookie": ";;;=;"}, False),
        ({"authorization": "Bearer \xff\xfe"}, False),
    ],
)
def test_token_opens_as_bearer_or_cookie(headers, is_in):
    assert is_authorised(Headers(headers), TOKEN) is is_in


def test_session_does_not_tell_the_token():
    assert TOKEN not in session_of(TOKEN)
    assert session_of(TOKEN) != session_of(TOKEN + "!")
    assert is_token(TOKEN, TOKEN)
    assert not is_token("", TOKEN)


def test_guessing_is_bounded_and_opens_again():
    attempts = Attempts()
    for number in range(Attempts.MAX_FAILURES):
        assert attempts.is_open(float(number))
        attempts.failed(float(number))
    assert not attempts.is_open(30.0)
    assert attempts.is_open(Attempts.SPAN_S + 0.5)
