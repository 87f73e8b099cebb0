import pytest
from starlette.datastructures import Headers

from stream.api.security import (
    Attempts,
    Keys,
    Role,
    bearer_of,
    client_of,
    has_session,
    is_allowed_host,
    is_for_viewers,
    is_own_origin,
    is_token,
    session_of,
)

TOKEN = "correct horse battery"
COOKIE = Keys(TOKEN).cookie
SESSION = f"{COOKIE}={session_of(TOKEN)}"

# Cookies that other programs of a host set; Python's SimpleCookie drops all at the first of many.
ODD_COOKIES = [
    'prefs={"a":1}',
    "n=José",
    "path=/x",
    "domain=h",
    "expires=Thu, 01 Jan 1970 00:00:00 GMT",
    "secure",
    "httponly; x",
    "a b=c",
    "[x]=1",
    "x=a b c",
    'x="unclosed',
    "x=1,y=2",
    "=nameless",
    "x==y==",
    "",
    ";;",
    "@=1",
    "a/b=1",
    "k=\\",
    "\x01=\x02",
    "x=" + "y" * 5000,
]


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
    ("cookies", "is_in"),
    [
        ([], False),
        ([SESSION], True),
        ([f"other=1; {SESSION}"], True),
        (["other=1", SESSION], True),
        ([f'{COOKIE}="{session_of(TOKEN)}"'], True),
        ([f"{COOKIE}=of-another-path; {SESSION}"], True),
        ([f"{COOKIE}={TOKEN}"], False),
        ([f"{COOKIE}={session_of('another token')}"], False),
        ([f"{COOKIE}="], False),
        ([f"x{SESSION}"], False),
        ([";;;=;"], False),
    ],
)
def test_a_session_opens_by_its_cookie(cookies, is_in):
    raw = [(b"cookie", cookie.encode()) for cookie in cookies]
    assert has_session(Headers(raw=raw), TOKEN, name=COOKIE) is is_in


@pytest.mark.parametrize("odd", ODD_COOKIES)
@pytest.mark.parametrize("order", ["{odd}; {ours}", "{ours}; {odd}", "{odd};{ours};{odd}"])
def test_cookies_of_other_programs_lock_nobody_out(odd, order):
    line = order.format(odd=odd, ours=SESSION).encode()
    assert has_session(Headers(raw=[(b"cookie", line)]), TOKEN, name=COOKIE)


def test_services_of_one_host_have_cookies_of_their_own():
    names = {Keys(TOKEN).cookie, Keys(TOKEN, port=8081).cookie, Keys("another token").cookie}
    assert len(names) == 3
    assert not any(TOKEN in name for name in names)


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://cams", "cams", True),
        ("https://cams", "cams:443", True),
        ("https://cams:443", "cams", True),
        ("https://cams:8443", "cams", True),  # nginx: Host $host
        ("http://CAMS:8080", "cams:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("https://public.example", "127.0.0.1:8080", True),  # configured
        ("http://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8080", False),
        ("http://cams:80", "cams:8080", False),
        ("null", "cams", False),
        ("", "", False),
        ("http://", "", False),
        ("http://[", "cams", False),
        ("http://cams:99999", "cams", False),
        ("http://cams:x", "cams", False),
        ("http://cams", "cams:x", False),
        ("http://cams", "[", False),
        ("file://", "cams", False),
        ("chrome-extension://cams", "cams", False),
    ],
)
def test_pages_of_ours_may_ask(origin, host, is_own):
    assert is_own_origin(origin, host, names={"public.example"}, port=8080) is is_own


def test_a_port_that_browsers_leave_out_is_not_left_out_by_a_proxy():
    assert not is_own_origin("http://cams:9999", "cams", names=(), port=80)
    assert is_own_origin("http://cams", "cams", names=(), port=80)


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
        (("::ffff:192.0.2.7", 80), "192.0.2.7"),
        (("testclient", 80), "testclient"),
        (("x" * 1000, 80), "x" * 64),
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


def test_wrong_tokens_are_bounded_by_address_and_answered_again():
    attempts = Attempts()
    for number in range(Attempts.MAX_FAILURES):
        assert attempts.failed("a", float(number))
    assert not attempts.failed("a", 30.0)
    assert attempts.failed("b", 30.0)
    assert attempts.failed("a", Attempts.SPAN_S + 0.5)


def test_addresses_of_guessers_take_bounded_memory():
    attempts = Attempts()
    for number in range(Attempts.MAX_ADDRESSES * 2):
        assert attempts.failed(f"address {number}", 0.0)
    assert len(attempts._failed) == Attempts.MAX_ADDRESSES
