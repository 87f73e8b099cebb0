"""Calls between machines that share a database, proven by a secret that is kept there.

The secret itself is not sent: a call has an HMAC (RFC 2104, SHA-256) of its method, its address,
its time by the database's clock, the machine that is called, and whom it is made for. Who records
a call can repeat that one for a minute, with another body too, unless the machines' addresses
begin with https://.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from stream.budget import Client

HEADER = "x-facewire-call"
"""The header of HTTP in which a call is proven."""

FRESH_S = 60.0
"""How long a call is accepted, seconds."""


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom another machine calls.

    Attributes:
        role: "admin" or "viewer", as that machine has checked.
        address: of the client, for counting.
    """

    role: str
    address: str

    @classmethod
    def of(cls, client: Client) -> Self:
        """Return a client of this machine as another one knows it."""
        return cls("admin" if client.is_admin else "viewer", client.address)


def sign(
    secret: str, caller: Caller, to: int, *, at: float, method: str, path: str, query: bytes
) -> str:
    """Return the value of the header for a call.

    Args:
        secret: of the database.
        caller: for whom it is made.
        to: number of the machine that is called.
        at: seconds since 1970, by the database's clock.
        method: of HTTP; GET for a WebSocket.
        path: decoded, below the address of the machine.
        query: as sent, without the question mark.
    """
    facts = f"{int(at)} {caller.role} {quote(caller.address, safe='')}"
    return f"{facts} {_proof(secret, f'{to} {facts}', method, path, query)}"


def read(
    value: str, secret: str, to: int, *, now: float, method: str, path: str, query: bytes
) -> Caller | None:
    """Return for whom a call is made; None if its proof is wrong or old.

    Args:
        value: of the header.
        secret: of the database.
        to: number of this machine.
        now: seconds since 1970, by the database's clock.
        method: of HTTP.
        path: decoded, without the path below which a proxy serves this machine.
        query: as received.
    """
    parts = value.split(" ")
    if len(parts) != 4 or not secret:
        return None
    at, role, address, proof = parts
    expected = _proof(secret, f"{to} {at} {role} {address}", method, path, query)
    if not hmac.compare_digest(proof.encode(), expected.encode()):
        return None
    if role not in {"admin", "viewer"} or not at.isascii() or not at.isdigit():
        return None
    if abs(now - int(at)) > FRESH_S:
        return None
    return Caller(role, unquote(address))


def _proof(secret: str, facts: str, method: str, path: str, query: bytes) -> str:
    signed = b"\n".join(
        (b"facewire call", facts.encode(), method.encode(), path.encode(errors="replace"), query)
    )
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
