import pytest
from starlette.datastructures import Headers

from stream.security import (
    COOKIE,
    Attempts,
    Keys,
    Role,
    bearer_of,
    client_of,
    has_session,
    is_allowed_host,
    is_for_viewers,
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
    ("header", "shown"),
    [
        (None, None),
        (f"Bearer {TOKEN}", TOKEN),
        (f"bearer  {TOKEN} ", TOKEN),
        (TOKEN, None),
        ("Bearer ", None),
        (f"Basic {TOKEN}", None),
        ("Bearer \xff\xfe", "\xff\xfe"),
    ],
)
def test_bearer_is_read_from_its_header(header, shown):
    assert bearer_of(Headers({"authorization": header} if header else {})) == shown


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        ({}, False),
        ({"cookie": f"{COOKIE}={session_of(TOKEN)}"}, True),
        ({"cookie": f"other=1; {COOKIE}={session_of(TOKEN)}"}, True),
        ({"cookie": f"{COOKIE}={TOKEN}"}, False),
        ({"cookie": f"{COOKIE}={session_of('another token')}"}, False),
        ({"cookie": f"{COOKIE}="}, False),
        ({"cookie": ";;;=;"}, False),
    ],
)
def test_a_session_opens_by_its_cookie(headers, is_in):
    assert has_session(Headers(headers), TOKEN) is is_in


@pytest.mark.parametrize(
    ("keys", "shown", "role"),
    [
        (Keys(), "", Role.ADMIN),
        (Keys("a"), "a", Role.ADMIN),
        (Keys("a"), "v", None),
        (Keys("a", "v"), "v", Role.VIEWER),
        (Keys("a", "v"), "a", Role.ADMIN),
        (Keys("a", "v"), "", None),
    ],
)
def test_a_token_gives_its_role(keys, shown, role):
    assert keys.role_of(lambda token: is_token(shown, token)) is role


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/api/identities", True),
        ("HEAD", "/", True),
        ("POST", "/api/cameras/door/whep", True),
        ("DELETE", "/api/cameras/door/whep/p1", True),
        ("POST", "/api/identify", True),
        ("POST", "/api/session", True),
        ("POST", "/api/cameras", False),
        ("PATCH", "/api/cameras/door", False),
        ("DELETE", "/api/cameras/whep", False),
        ("POST", "/api/cameras/door/tracks/1/name", False),
        ("POST", "/api/whip", False),
        ("POST", "/api/identities", False),
        ("POST", "/api/identify/../identities", False),
        ("POST", "/api/something/new", False),
    ],
)
def test_a_viewer_changes_nothing(method, path, may):
    assert is_for_viewers(method, path) is may


@pytest.mark.parametrize(
    ("client", "who"),
    [
        (("192.0.2.7", 80), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 80), "2001:db8:1:2::/64"),
        (("testclient", 80), "testclient"),
        (None, ""),
    ],
)
def test_guessers_are_counted_by_address(client, who):
    assert client_of({"type": "http", "client": client}) == who


def test_session_does_not_tell_the_token():
    assert TOKEN not in session_of(TOKEN)
    assert session_of(TOKEN) != session_of(TOKEN + "!")
    assert is_token(TOKEN, TOKEN)
    assert not is_token("", TOKEN)


def test_guessing_is_bounded_and_opens_again():
    attempts = Attempts()
    for number in range(Attempts.MAX_FAILURES):
        assert attempts.is_open("a", float(number))
        attempts.failed("a", float(number))
    assert not attempts.is_open("a", 30.0)
    assert attempts.is_open("b", 30.0)
    assert attempts.is_open("a", Attempts.SPAN_S + 0.5)


def test_guessing_from_many_addresses_is_bounded_too():
    attempts = Attempts()
    for number in range(Attempts.MAX_FAILURES_OF_ALL):
        attempts.failed(f"address {number}", 0.0)
    assert not attempts.is_open("another", 1.0)
    assert attempts.is_open("another", Attempts.SPAN_S)
