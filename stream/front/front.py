"""Calls to the machines that run the other cameras of the database, for clients of this one.

A call is forwarded once: the machine that gets it answers it itself.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

import httpx2

from stream.errors import MachineError
from stream.front.machines import Machine, Machines
from stream.front.signed_calls import HEADER, Caller, read, sign
from stream.schemas.cameras import CameraJson
from stream.supervisor import SupervisedTask, Supervisor

logger = logging.getLogger(__name__)

CONNECT_S = 2.0
"""Seconds for a connection to another machine to be established."""

ANSWER_S = 20.0
"""Seconds for its whole answer: it gathers candidates of WebRTC meanwhile."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A snapshot of 8192 pixels has at most about 20 MiB."""

TELL_S = 1.0
"""Seconds between two looks at the states of this machine's cameras, for the others."""

LOOK_EVERY = 5
"""Every which of those it is tried whether the others can be called."""

GATHER_S = 3.0
"""Seconds for which the answers of all machines to one question are waited for."""

REFUSED = (401, 429)
REFUSES = "another machine answers at its url, or one that is not on the same database"

LOOK_S = 0.5
"""Seconds between two looks whether a machine that is called is away meanwhile."""

ENDLESS = "multipart/x-mixed-replace"
"""The type of an answer that is passed on as it comes: MJPEG."""

PASSED_ON = frozenset({"accept", "content-type", "if-none-match", "user-agent"})
"""The headers of a request that concern its answer; never a token or a cookie."""

ANSWERED = frozenset(
    {
        *("allow", "cache-control", "content-type", "etag", "facewire-via", "link"),
        *("location", "retry-after"),
    }
)
"""The headers of an answer that concern its client."""


class Endless:
    """The body of an answer without an end, in parts as they come; to be closed."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with suppress(httpx2.HTTPError):  # the machine is gone: so is its stream
            async for part in self._response.aiter_raw():
                yield part

    async def close(self) -> None:
        """End the request."""
        await self._response.aclose()


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer of another machine.

    Attributes:
        status: of HTTP.
        headers: those of `ANSWERED`, names in lower case.
        body: whole, or without an end.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | Endless


class Front:
    """Calls other machines; for the event loop only.

    Args:
        machines: the others.
        cameras: returns the states of this machine's cameras, for administrators.
        problems: returns its problems, one line each.
        wall_clock: seconds since 1970.

    Attributes:
        machines: the others.
        calls: calls that were forwarded, and those of them that failed, by the machine's name.
    """

    def __init__(
        self,
        machines: Machines,
        *,
        cameras: Callable[[], list[CameraJson]],
        problems: Callable[[], list[str]],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.machines = machines
        self.calls: dict[str, list[int]] = {}
        self._cameras = cameras
        self._problems = problems
        self._wall_clock = wall_clock
        self._task: SupervisedTask | None = None
        self._client = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
            timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
            headers={"accept-encoding": "identity"},
        )

    async def run(self) -> None:
        """Tell the others what runs here, and look whether they can be called, until canceled."""
        turn = 0
        while True:
            self.machines.tell(self._cameras(), self._problems())
            if turn % LOOK_EVERY == 0:
                await self._look()
            turn += 1
            await asyncio.sleep(TELL_S)

    def start(self, supervisor: Supervisor) -> None:
        """Begin to tell the others what runs here."""
        self._task = supervisor.task("other machines", self.run)

    async def stop(self) -> None:
        """Tell nothing more, and close all connections."""
        if self._task is not None:
            await self._task.stop()
        await self._client.aclose()

    # Calls by others

    @property
    def is_ready(self) -> bool:
        """Whether calls by others can be checked: not in the first seconds."""
        return bool(self.machines.secret)

    def caller_of(self, value: str, *, method: str, path: str, query: bytes) -> Caller | None:
        """Return for whom another machine calls; None if the call is not by one, or old."""
        return read(
            value,
            self.machines.secret,
            self.machines.node,
            now=self._wall_clock() + self.machines.ahead_s,
            method=method,
            path=path,
            query=query,
        )

    # Calls to others

    def header(
        self, caller: Caller, machine: Machine, *, method: str, path: str, query: bytes
    ) -> dict[str, str]:
        """Return the header of a call, see `sign`."""
        at = self._wall_clock() + self.machines.ahead_s
        secret = self.machines.secret
        to = machine.node
        return {
            HEADER: sign(secret, caller, to, at=at, method=method, path=path, query=query),
        }

    async def call(
        self,
        machine: Machine,
        caller: Caller,
        *,
        method: str,
        path: str,
        query: bytes,
        headers: Mapping[str, str],
        body: bytes,
        prefix: str,
    ) -> Answered:
        """Send a client's request to another machine, and return its answer.

        Args:
            machine: that answers it.
            caller: the client.
            method: of HTTP.
            path: decoded, below the address of this machine.
            query: without the question mark.
            headers: of the request; only those of `PASSED_ON` are sent.
            body: whole.
            prefix: the path below which the client sees this machine, for addresses in the answer.

        Raises:
            MachineError: if it does not answer in time, in one line for the client.
        """
        if machine.is_away:
            raise MachineError(_away(machine))
        count = self.calls.setdefault(machine.name, [0, 0])
        count[0] += 1
        asked = asyncio.create_task(
            self._ask(machine, caller, method, path, query, headers, body), name="forwarded-call"
        )
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=LOOK_S)
                if not asked.done() and (found := self.machines.away(machine.node)):
                    raise MachineError(_away(found))
            response, whole = asked.result()
        except MachineError:
            count[1] += 1
            raise
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            count[1] += 1
            why = reason(error)
            logger.warning("machine %s cannot be called: %s", machine.name, why)
            raise MachineError(_unreachable(machine, why)) from None
        finally:
            asked.cancel()
        if response.status_code in REFUSED:
            # Not the client's fault, whose page would ask for a token.
            count[1] += 1
            raise MachineError(_unreachable(machine, REFUSES))
        kept = [
            (name, f"{prefix}{_below_api(value)}" if name == "location" else value)
            for name, value in response.headers.multi_items()
            if name in ANSWERED
        ]
        return Answered(response.status_code, kept, whole)

    async def _ask(
        self,
        machine: Machine,
        caller: Caller,
        method: str,
        path: str,
        query: bytes,
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[httpx2.Response, bytes | Endless]:
        url = httpx2.URL(machine.url)
        target = url.raw_path.rstrip(b"/") + quote(path, safe="/").encode()
        url = url.copy_with(raw_path=target + b"?" + query if query else target)
        request = self._client.build_request(
            method,
            url,
            content=body,
            headers={
                **{name: headers[name] for name in PASSED_ON if name in headers},
                **self.header(caller, machine, method=method, path=path, query=url.query),
            },
        )
        async with asyncio.timeout(ANSWER_S):
            response = await self._client.send(request, stream=True)
            if response.headers.get("content-type", "").startswith(ENDLESS):
                return response, Endless(response)
            try:
                return response, await _whole(response)
            finally:
                await response.aclose()

    async def _look(self) -> None:
        """Note which machines cannot be called, and why."""
        running = [each for each in self.machines.all() if not each.is_away]
        found = await asyncio.gather(*(self._trouble_of(each) for each in running))
        self.machines.troubles = {
            each.node: why for each, why in zip(running, found, strict=True) if why
        }

    async def _trouble_of(self, machine: Machine) -> str:
        caller = Caller("viewer", "")
        try:
            url = httpx2.URL(f"{machine.url}/api/session")
            async with asyncio.timeout(CONNECT_S * 2):
                response = await self._client.get(
                    url,
                    headers=self.header(
                        caller, machine, method="GET", path="/api/session", query=b""
                    ),
                )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            return reason(error)
        if response.status_code in REFUSED:
            return REFUSES
        return "" if response.status_code == 200 else f"HTTP status {response.status_code}"

    async def gather(self, path: str, caller: Caller) -> list[bytes]:
        """Return what the other machines answer to a request; those that do not are left out.

        Args:
            path: of a GET request, below the address of each.
            caller: the client.
        """

        async def ask(machine: Machine) -> bytes:
            with suppress(MachineError, TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    answer = await self.call(
                        machine,
                        caller,
                        method="GET",
                        path=path,
                        query=b"",
                        headers={},
                        body=b"",
                        prefix="",
                    )
                if answer.status == 200 and isinstance(answer.body, bytes):
                    return answer.body
            return b""

        running = [each for each in self.machines.all() if not each.is_away]
        return [each for each in await asyncio.gather(*map(ask, running)) if each]


async def _whole(response: httpx2.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise httpx2.DecodingError("the answer is too large")
        parts.append(part)
    return b"".join(parts)


def _below_api(location: str) -> str:
    """Return an address of another machine's API as a path below its root."""
    _, found, rest = location.partition("/api/")
    return f"{found}{rest}" if found else location


def _away(machine: Machine) -> str:
    return (
        f"machine {machine.name}, which runs this camera, has not answered for "
        f"{machine.seen_s:.0f} s: try again once it is back"
    )


def _unreachable(machine: Machine, why: str) -> str:
    return f"machine {machine.name}, which runs this camera, does not answer: {why}"


def reason(error: Exception) -> str:
    """Return why a machine did not answer, without its address."""
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return "timed out"
    if isinstance(error, httpx2.ConnectError | OSError):
        return "cannot connect"
    if isinstance(error, httpx2.InvalidURL):
        return "its url cannot be used"
    return "the connection was lost"
