import base64
import hashlib
import hmac

import pytest

from stream.ice import CREDENTIAL_S, IceServer, IceServers, parse_ice_server


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("stun:stun.example.org:3478", IceServer("stun:stun.example.org:3478")),
        ("stuns:h", IceServer("stuns:h")),
        ("turn:turn.example.org", IceServer("turn:turn.example.org")),
        (
            "turn:me:secret@turn.example.org:5",
            IceServer("turn:turn.example.org:5", "me", "secret"),
        ),
        (
            "turns:me:s%40:x@host?transport=tcp",
            IceServer("turns:host?transport=tcp", "me", "s@:x"),
        ),
        ("turn:me%3Ayou:p@ss@host", IceServer("turn:host", "me:you", "p@ss")),
        ("turn:me:p@192.0.2.1:3478", IceServer("turn:192.0.2.1:3478", "me", "p")),
    ],
)
def test_servers_may_hold_credentials(url: str, expected: IceServer) -> None:
    assert parse_ice_server(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "stun:HOST|such as stun:host:3478"),
        ("http://hunter2", "such as stun:host:3478"),
        ("stun:", "such as"),
        ("stun:h:0", "such as"),
        ("stun:h:99999", "such as"),
        ("stun:h?transport=udp", "no transport"),
        ("turn:me:hunter2@", "such as"),
        ("turn:me:hunter2", "such as"),
        ("turn:me:hunter2@h?transport=quic", "such as"),
        ("turn:me:hunter2@h\n", "such as"),
        ("turn::hunter2@h", "both user and password"),
        ("turn:me:@h", "both user and password"),
        ("turn:me:hunter2ä@h", "ASCII"),
        ("turn:me:hunter2%0D%0Ax@h", "ASCII"),
        ("stun:me:hunter2@h", "no credentials"),
    ],
)
def test_others_are_refused_without_their_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_ice_server(url)
    assert "hunter2" not in str(caught.value)


def test_nothing_is_configured_by_default() -> None:
    ice = IceServers((), wall_clock=lambda: 0.0)
    assert ice.to_json() == {"ice_servers": [], "valid_s": CREDENTIAL_S}
    assert ice.to_links() == []


def test_a_turn_server_needs_credentials() -> None:
    with pytest.raises(ValueError, match="turn:h needs credentials: turn:USER"):
        IceServers(["turn:h"], wall_clock=lambda: 0.0)


def test_a_shared_secret_gives_credentials_of_a_day() -> None:
    now = 1_700_000_000.9
    ice = IceServers(["stun:s", "turn:own:pw@a", "turn:b"], secret="s3cret", wall_clock=lambda: now)
    stun, own, shared = ice.to_json()["ice_servers"]
    assert stun == {"urls": "stun:s"}
    assert own == {"urls": "turn:a", "username": "own", "credential": "pw"}
    # As coturn's manual has it for use-auth-secret.
    username = "1700086400:facewire"
    credential = hmac.new(b"s3cret", username.encode(), hashlib.sha1).digest()
    assert shared["username"] == username
    assert shared["credential"] == base64.b64encode(credential).decode()
    now += 3600
    assert ice.current()[2].username == "1700090000:facewire"


def test_links_are_as_whip_has_them() -> None:
    ice = IceServers(["stun:s", 'turn:me:p"w\\@h:5?transport=udp'], wall_clock=lambda: 0.0)
    assert ice.to_links() == [
        '<stun:s>; rel="ice-server"',
        '<turn:h:5?transport=udp>; rel="ice-server"; username="me"; credential="p\\"w\\\\"'
        '; credential-type="password"',
    ]
