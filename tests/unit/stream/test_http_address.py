import pytest

from stream.http_address import origin, parse_http_address


@pytest.mark.parametrize(
    ("url", "shown", "target"),
    [
        ("http://a", "http://a", "/"),
        ("https://a:8443/x?y=1", "https://a:8443", "/x?y=1"),
        ("https://a:443/x", "https://a", "/x"),
        ("http://bob:p%40w@a/", "http://a", "/"),
        ("http://[::1]:90/", "http://[::1]:90", "/"),
        (
            "https://bücher.example/größe?q=ä b#part",
            "https://xn--bcher-kva.example",
            "/gr%C3%B6%C3%9Fe?q=%C3%A4%20b",
        ),
        ("http://a.example./", "http://a.example.", "/"),
        (f"http://{'a' * 63}.b/", f"http://{'a' * 63}.b", "/"),
    ],
)
def test_addresses_become_ascii(url: str, shown: str, target: str) -> None:
    address = parse_http_address(url)
    assert origin(address) == shown
    assert address.raw_path == target.encode()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with http"),
        ("hunter2", "begins with http"),
        ("ftp://hunter2@a/", "begins with http"),
        ("http://", "begins with http"),
        ("http:///hunter2", "begins with http"),
        ("http://a:0/hunter2", "begins with http"),
        ("http://a:99999/hunter2", "begins with http"),
        ("http://[/hunter2", "begins with http"),
        ("http://[::1/hunter2", "begins with http"),
        ("http://a\n/hunter2", "begins with http"),
        ("http://a\x00/hunter2", "begins with http"),
        ("http://a/hunter2\ud800", "begins with http"),
        ("http://a b/hunter2", "begins with http"),
        ("http://a..b/hunter2", "between single dots"),
        ("http://.a/hunter2", "between single dots"),
        (f"http://{'a' * 70}/hunter2", "between single dots"),
        (f"http://{'ä' * 70}/hunter2", "http"),
        (f"http://{'a.' * 200}b/hunter2", "between single dots"),
        ("http://a/" + "hunter2" * 1000, "at most 2048 characters, has 7009"),
    ],
)
def test_others_are_refused_without_being_shown(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_http_address(url)
    assert "hunter2" not in str(caught.value)
