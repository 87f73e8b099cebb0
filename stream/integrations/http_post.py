"""HTTP POSTs with a total deadline, whose errors quote nothing that the receiver sent."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import h11
import httpx2

CONNECT_S = 5.0
"""Seconds for a connection to be established."""


class PostError(Exception):
    """Raised when a receiver did not answer; the message is the reason, without its data."""


class HttpPost:
    """Posts to one URL, each time over a new connection; not thread-safe.

    Proxies of the environment are not used. Redirects are not followed, since posts are signed.
    The body of the answer is not read.

    Args:
        url: http or https; a user and password in it are sent as Basic authentication.
        deadline_s: seconds for one post, from the connection to the last header of the answer.
    """

    def __init__(self, url: httpx2.URL, *, deadline_s: float) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._client = httpx2.Client(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=httpx2.Timeout(deadline_s, connect=min(CONNECT_S, deadline_s)),
            headers={"User-Agent": "facewire", "Accept-Encoding": "identity"},
        )

    def __call__(
        self, body: bytes, headers: Mapping[str, str], *, url: httpx2.URL | None = None
    ) -> int:
        """Post and return the status of the answer.

        Args:
            body: as sent.
            headers: further ones.
            url: another URL for this post.

        Raises:
            PostError: if there is no HTTP answer in time.
        """
        with Deadline(self._deadline_s) as deadline:
            request = self._client.build_request(
                "POST",
                url or self._url,
                content=body,
                headers=headers,
                extensions={"trace": deadline.trace},
            )
            try:
                response = self._client.send(request, stream=True)
            except (httpx2.HTTPError, OSError) as error:
                # Not chained: its text may contain the URL, or data from the receiver.
                raise PostError(failure_reason(error, is_late=deadline.is_over)) from None
            response.close()
            return response.status_code

    def close(self) -> None:
        """Release the client; safe to call twice."""
        self._client.close()


class Deadline:
    """Closes the connection of a request after a time: the client limits each wait, not the sum.

    The request must open a connection of its own.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._alarm = threading.Timer(seconds, self._hang_up)
        self._alarm.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._alarm.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._alarm.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._ends_at

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep a duplicate of the socket once it is connected: TLS replaces the client's own."""
        if event.endswith("connect_tcp.complete"):
            connected: socket.socket = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._socket = connected.dup()
            if self.is_over:
                self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


def failure_reason(error: Exception, *, is_late: bool) -> str:
    """Return why a request failed, without the text of the exception."""
    causes = tuple(_causes(error))
    if is_late or isinstance(error, httpx2.TimeoutException):
        return "does not answer in time"
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has no valid certificate: {cause.verify_message}".lower()
        if isinstance(cause, ssl.SSLError):
            return "cannot be reached: no TLS there"
        if isinstance(cause, OSError) and cause.strerror:
            return f"cannot be reached: {cause.strerror}".lower()
    if any(isinstance(cause, h11.ProtocolError) for cause in causes):
        return "does not answer in HTTP"
    return "cannot be reached: it broke off the connection"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
