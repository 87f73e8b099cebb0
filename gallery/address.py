"""Addresses of PostgreSQL databases; their passwords are never shown."""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from gallery.errors import GalleryError

SCHEMES = ("postgresql", "postgres")
_SECRETS = frozenset({"password", "sslpassword"})

Place = Path | str
"""A directory, or the address of a PostgreSQL database: `postgresql://USER@HOST/DATABASE`."""


def is_address(place: Place) -> bool:
    """Return whether a place is the address of a database and no directory."""
    return isinstance(place, str) and place.partition("://")[0] in SCHEMES and "://" in place


def shown(place: Place) -> str:
    """Return a place for messages, without the password of an address.

    Raises:
        GalleryError: if it is an address that cannot be read; the message does not hold it.
    """
    if not is_address(place):
        return str(place)
    try:
        parts = urlsplit(str(place))
        is_whole = parts.netloc.count("@") <= 1 and not any(c.isspace() for c in str(place))
        _ = parts.port
    except ValueError:
        is_whole = False
    if not is_whole or not str(place).isprintable():
        raise GalleryError(
            "the address of the database cannot be read: write "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with the characters @ : / % of the "
            "password as %40 %3A %2F %25"
        )
    user, at, host = parts.netloc.rpartition("@")
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _SECRETS]
    options = "?" + urlencode(query) if query else ""
    return f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}{options}"
