"""Requests to another program's HTTP API, bounded in size and time.

Errors quote nothing that the program sent, and no address beyond its host.
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from stream.cameras.tls import tls_context
from stream.http_address import origin
from stream.integrations.http_post import CONNECT_S, Deadline, failure_reason

MAX_JSON = 32 * 2**20
"""Bytes of an answer in JSON; a list of 100,000 photos has about 12 MB."""

DEADLINE_S = 20.0
"""Seconds for one request in all, however slowly the answer arrives."""

CHUNK = 65536


class HttpApiError(Exception):
    """Raised when there is no usable answer; the message begins with the host.

    Attributes:
        is_away: whether the program did not answer at all, so that a later try may succeed.
    """

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer.

    Attributes:
        status: of HTTP.
        body: the content, at most the requested size.
        cookies: that the answer sets.
    """

    status: int
    body: bytes = field(repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)

    def json(self) -> Any:
        """Return the content as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class HttpApi:
    """The HTTP API of another program; safe to use from several threads.

    Proxies of the environment are not used. Redirects are not followed: secrets would go along.

    Attributes:
        origin: scheme, host and port, for messages.

    Args:
        url: http or https, with the path below which the API is; a user and password in it are
            sent as Basic authentication.
        headers: sent with each request.
        verify_tls: check the certificate of https.
        deadline_s: seconds for one request.
    """

    def __init__(
        self,
        url: httpx2.URL,
        *,
        headers: Mapping[str, str] | None = None,
        verify_tls: bool = True,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.origin = origin(url)
        self._base = str(url.copy_with(query=None, fragment=None)).rstrip("/")
        self._deadline_s = deadline_s
        context = ssl.create_default_context() if verify_tls else tls_context(verify=False)
        self._client = httpx2.Client(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=httpx2.Timeout(deadline_s, connect=min(CONNECT_S, deadline_s)),
            headers={
                "User-Agent": "facewire",
                # A compressed answer of a few bytes may unpack to any size.
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
        )

    def request(
        self,
        method: str,
        *path: str,
        params: Mapping[str, str | int] | None = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_JSON,
    ) -> HttpAnswer:
        """Return the answer to a request.

        Args:
            method: GET or POST.
            path: its parts, not encoded.
            params: of the query.
            content: sent as JSON; None for nothing.
            headers: of this request.
            most: bytes of the answer.

        Raises:
            HttpApiError: if there is no answer in time, or a larger one.
        """
        url = "/".join([self._base, *(quote(part, safe="") for part in path)])
        with Deadline(self._deadline_s) as deadline:
            request = self._client.build_request(
                method,
                url,
                params=params,
                json=content,
                headers=headers,
                extensions={"trace": deadline.trace},
            )
            try:
                response = self._client.send(request, stream=True)
                try:
                    body = self._read(response, most)
                finally:
                    response.close()
            except (httpx2.HTTPError, OSError) as error:
                # Not chained: its text may contain the URL, or data from the program.
                why = failure_reason(error, is_late=deadline.is_over)
                raise HttpApiError(f"{self.origin} {why}", is_away=True) from None
            cookies = {cookie.name: cookie.value or "" for cookie in response.cookies.jar}
            self._client.cookies.clear()
            return HttpAnswer(response.status_code, body, cookies)

    def _read(self, response: httpx2.Response, most: int) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise HttpApiError(f"{self.origin} sent a compressed answer that was not asked for")
        body = bytearray()
        for chunk in response.iter_raw(CHUNK):
            body += chunk
            if len(body) > most:
                raise HttpApiError(f"{self.origin} sent an answer of more than {most} bytes")
        return bytes(body)

    def close(self) -> None:
        """Release the client; safe to call twice."""
        self._client.close()
