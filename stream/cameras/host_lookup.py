"""Lookup of a host name with a timeout, which the system's resolver does not have."""

import socket
import threading

from stream.errors import SourceUnavailable


def look_up(host: str, port: int, *, timeout_s: float) -> None:
    """Return once a host name has been resolved.

    Args:
        host: a name or an address.
        port: to connect to.
        timeout_s: maximum time, seconds.

    Raises:
        SourceUnavailable: if the name is unknown, or not resolved in time; the message is the
            reason.
    """
    done = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failures.append(error)
        done.set()

    # The call cannot be interrupted: the thread ends at the resolver's own timeout.
    threading.Thread(target=ask, name=f"look-up-{host[:40]}", daemon=True).start()
    if not done.wait(timeout_s):
        raise SourceUnavailable(f"no answer from DNS about {host} in {timeout_s:g} s")
    if failures:
        raise SourceUnavailable(f"unknown host {host}")
