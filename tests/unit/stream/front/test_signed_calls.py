from typing import Any

from stream.front.signed_calls import FRESH_S, Caller, read, sign

SECRET = "s" * 72
CALLER = Caller("viewer", "2001:db8::/64")
CALL: dict[str, Any] = {"method": "GET", "path": "/api/cameras/door", "query": b"width=64"}


def signed(**changes: Any) -> str:
    return sign(SECRET, CALLER, 2, **{"at": 1000.0, **CALL, **changes})


def test_a_call_says_for_whom_it_is_made():
    assert read(signed(), SECRET, 2, now=1030.0, **CALL) == CALLER


def test_a_call_is_for_one_request_to_one_machine():
    value = signed()
    for changes in ({"method": "PUT"}, {"path": "/api/cameras/yard"}, {"query": b""}):
        assert read(value, SECRET, 2, now=1000.0, **{**CALL, **changes}) is None
    assert read(value, SECRET, 3, now=1000.0, **CALL) is None
    assert read(value, "another", 2, now=1000.0, **CALL) is None
    assert read(value.replace("viewer", "admin"), SECRET, 2, now=1000.0, **CALL) is None


def test_an_old_call_is_refused():
    assert read(signed(), SECRET, 2, now=1001.0 + FRESH_S, **CALL) is None
    assert read(signed(at=2000.0), SECRET, 2, now=1000.0, **CALL) is None


def test_nothing_is_proven_before_the_secret_is_read():
    value = sign("", CALLER, 2, at=1000.0, **CALL)
    assert read(value, "", 2, now=1000.0, **CALL) is None


def test_a_damaged_header_is_refused():
    for value in ("", "a b c", "1000 viewer x é", f"{signed()} more", "٣ viewer x 0"):
        assert read(value, SECRET, 2, now=1000.0, **CALL) is None
