"""A look-up of a host's name that ends in time, which the system's own does not promise."""

import socket
import threading

from stream.errors import SourceUnavailable


def look_up(host: str, port: int, *, timeout_s: float) -> None:
    """Return when a name has an address.

    Args:
        host: a name or an address.
        port: where it is to be reached.
        timeout_s: seconds it may take.

    Raises:
        SourceUnavailable: if nobody knows the name, or not in time; the message is the reason.
    """
    done = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failures.append(error)
        done.set()

    # The call cannot be interrupted: the thread ends when the resolver gives up by itself.
    threading.Thread(target=ask, name=f"look-up-{host[:40]}", daemon=True).start()
    if not done.wait(timeout_s):
        raise SourceUnavailable(f"no answer from DNS about {host} in {timeout_s:g} s")
    if failures:
        raise SourceUnavailable(f"unknown host {host}")
