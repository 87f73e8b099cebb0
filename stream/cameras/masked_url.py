"""Restoring the masked parts of a camera's URL that a person edited as it is shown.

`rtsp://***@192.0.2.7/***/101?***` hides the user and password, the folders of the path and some
of the query. Hidden parts stay unchanged where the host is the same.
"""

from dataclasses import dataclass
from typing import Self

from stream.errors import ConfigError
from stream.redaction import MASK, safe_url


def unmask(url: str, was: str) -> str:
    """Return an edited URL with its masks replaced by the hidden values.

    Args:
        url: as edited.
        was: the camera's previous URL, unmasked.

    Raises:
        ConfigError: if a mask has no hidden value, or would send a password to another host.
    """
    shown = safe_url(was)
    if url in (shown, was):
        return was
    # A file may have such a name; none of it is masked.
    if MASK not in url or ("://" not in url and url != MASK):
        return url
    new, old, safe = _Parts.of(url), _Parts.of(was), _Parts.of(shown)
    if (new.scheme.lower(), new.place) == (old.scheme.lower(), old.place):
        whole = _Parts(
            new.scheme,
            _unmask_login(new.login, old.login),
            new.place,
            _unmask_path(new.path, old.path, safe.path),
            _unmask_query(new.query, old.query, safe.query),
            old.fragment if new.fragment == MASK else new.fragment,
        ).join()
        if MASK not in whole:
            return whole
    raise ConfigError(
        f"{MASK} stands for what is not shown of the camera's URL, and is kept where scheme, host "
        "and port stay: type the URL whole to change these"
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a URL; an absent part is empty."""

    scheme: str
    login: str
    place: str
    path: str
    query: str
    fragment: str

    @classmethod
    def of(cls, url: str) -> Self:
        scheme, _, rest = url.partition("://")
        rest, _, fragment = rest.partition("#")
        rest, _, query = rest.partition("?")
        authority, slash, path = rest.partition("/")
        login, _, place = authority.rpartition("@")
        return cls(scheme, login, place, slash + path, query, fragment)

    def join(self) -> str:
        login = f"{self.login}@" if self.login else ""
        query = f"?{self.query}" if self.query else ""
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}://{login}{self.place}{self.path}{query}{fragment}"


def _unmask_login(new: str, old: str) -> str:
    user, colon, password = new.partition(":")
    is_password_alone = colon and password == MASK and user == old.partition(":")[0]
    return old if old and (new == MASK or is_password_alone) else new


def _unmask_path(new: str, old: str, shown: str) -> str:
    """Return the path with its hidden start restored, before the visible end."""
    head = f"/{MASK}"
    if not (new + "/").startswith(head + "/") or not shown.startswith(head):
        return new
    hidden = old.removesuffix(shown.removeprefix(head))
    return hidden + new.removeprefix(head)


def _unmask_query(new: str, old: str, shown: str) -> str:
    pairs = old.split("&")
    hidden = "&".join(pair for pair in pairs if pair not in shown.split("&"))
    whole = []
    for pair in new.split("&"):
        key, _, value = pair.partition("=")
        same = [each for each in pairs if each.partition("=")[0] == key]
        if pair == MASK:
            whole.append(hidden or MASK)
        elif value == MASK and len(same) == 1:
            whole.append(same[0])
        else:
            whole.append(pair)
    return "&".join(whole)
