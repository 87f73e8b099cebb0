"""A client of the Janus API over one WebSocket (https://janus.conf.meetecho.com/docs/rest.html).

Each request has a transaction, which its answer repeats. Requests about a peer are acknowledged
first, and answered by an event later.
"""

import asyncio
import json
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from stream.errors import SfuAwayError, SfuError

logger = logging.getLogger(__name__)

STREAMING = "janus.plugin.streaming"

OPEN_S = 3.0
"""Seconds to connect, with TLS."""

ANSWER_S = 5.0
"""Seconds for an answer; Janus gathers candidates meanwhile."""

PING_S, PONG_S = 5.0, 10.0
"""Seconds between two pings, and to wait for the answer: a frozen Janus keeps its connection."""

KEEPALIVE_S = 20.0
"""Janus ends sessions after a minute without a request."""

MAX_MESSAGE_BYTES = 1 << 20

Message = dict[str, Any]


class JanusSession:
    """One session with a Janus; for the event loop only. `JanusSession.open` connects.

    Attributes:
        on_event: called with a handle, a kind such as "webrtcup" or "hangup", and the message.
        on_late: called with an answer of success that nobody waits for: the request was canceled,
            or timed out, and Janus has done it nevertheless.
    """

    def __init__(self, socket: ClientConnection, secret: str) -> None:
        self.on_event: Callable[[int, str, Message], None] = lambda handle, kind, message: None
        self.on_late: Callable[[Message], None] = lambda answer: None
        self._socket = socket
        self._secret = secret
        self._session = 0
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[str, tuple[asyncio.Future[Message], bool]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, secret: str) -> AsyncIterator[Self]:
        """Connect and create a session; the end closes it with all its handles.

        Args:
            url: ws:// or wss:// address.
            secret: Janus's `api_secret`; empty for none.

        Raises:
            SfuError: if it cannot be reached, or refuses.
        """
        try:
            socket = await connect(
                url,
                subprotocols=[Subprotocol("janus-protocol")],
                open_timeout=OPEN_S,
                close_timeout=0.5,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, EOFError) as error:
            raise SfuError(_why_not(error)) from None
        session = cls(socket, secret)
        reading = session._reading = asyncio.create_task(session._read(), name="janus-read")
        try:
            created = await session._request({"janus": "create"})
            session._session = created["data"]["id"]
            yield session
        finally:
            reading.cancel()
            session._fail_all()
            await socket.close()

    async def wait_lost(self) -> None:
        """Keep the session alive; return when Janus is gone.

        Raises whatever a handler of messages, such as `on_event`, has raised.
        """
        assert self._reading is not None
        closed = asyncio.create_task(self._socket.wait_closed(), name="janus-closed")
        ends = {closed, self._reading}
        try:
            while not (
                await asyncio.wait(ends, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            )[0]:
                await self._send({"janus": "keepalive"}, secrets.token_hex(8))
            if self._reading.done():
                self._reading.result()
        except SfuError:
            return
        finally:
            closed.cancel()

    async def attach(self) -> int:
        """Return a new handle of the streaming plugin."""
        attached = await self._request({"janus": "attach", "plugin": STREAMING})
        handle: int = attached["data"]["id"]
        return handle

    async def detach(self, handle: int) -> None:
        """Close a handle and its peer connection; does nothing if Janus is gone."""
        try:
            await self._request({"janus": "detach", "handle_id": handle})
        except SfuError as error:
            logger.debug("handle %d: %s", handle, error)

    async def call(self, handle: int, body: Message) -> Message:
        """Send a request that is answered at once, and return the plugin's answer.

        Raises:
            SfuError: if it is refused; SfuAwayError if it is not answered.
        """
        answer = await self._request({"janus": "message", "handle_id": handle, "body": body})
        return _plugin_data(answer)

    async def negotiate(self, handle: int, body: Message, *, answer_sdp: str = "") -> str:
        """Send a request about a peer and wait for its event.

        Returns:
            The offer of Janus; empty if the event has none.

        Raises:
            SfuError: if it is refused; SfuAwayError if it is not answered.
        """
        message: Message = {"janus": "message", "handle_id": handle, "body": body}
        if answer_sdp:
            message["jsep"] = {"type": "answer", "sdp": answer_sdp}
        event = await self._request(message, is_acknowledged=True)
        _plugin_data(event)
        jsep = event.get("jsep")
        return str(jsep["sdp"]) if isinstance(jsep, dict) else ""

    async def _request(self, message: Message, *, is_acknowledged: bool = False) -> Message:
        transaction = secrets.token_hex(8)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = future, is_acknowledged
        try:
            await self._send(message, transaction)
            async with asyncio.timeout(ANSWER_S):
                answer = await future
        except TimeoutError:
            self._give_up(future)
            raise SfuAwayError(f"does not answer within {ANSWER_S:.0f} s") from None
        except BaseException:
            self._give_up(future)
            raise
        finally:
            self._waiting.pop(transaction, None)
        if answer["janus"] == "error":
            raise SfuError(f"refuses: {_reason(answer.get('error'))}")
        return answer

    async def _send(self, message: Message, transaction: str) -> None:
        message = {**message, "transaction": transaction}
        if self._session:
            message["session_id"] = self._session
        if self._secret:
            message["apisecret"] = self._secret
        try:
            await self._socket.send(json.dumps(message))
        except ConnectionClosed:
            raise SfuAwayError("closed the connection") from None

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                try:
                    message = json.loads(text)
                except ValueError:
                    continue
                if isinstance(message, dict) and isinstance(message.get("janus"), str):
                    self._receive(message)
        except ConnectionClosed:
            pass
        finally:
            self._fail_all()

    def _receive(self, message: Message) -> None:
        kind = message["janus"]
        future, is_acknowledged = self._waiting.get(str(message.get("transaction")), (None, False))
        if kind == "ack" and is_acknowledged:
            return
        if future is not None and not future.done():
            future.set_result(message)
        elif kind == "success":
            self.on_late(message)
        elif kind != "ack" and isinstance(message.get("sender"), int):
            self.on_event(message["sender"], kind, message)

    def _give_up(self, future: "asyncio.Future[Message]") -> None:
        """Pass on an answer that arrived just before its request was canceled."""
        if future.done() and not future.cancelled() and future.exception() is None:
            answer = future.result()
            if answer["janus"] == "success":
                self.on_late(answer)

    def _fail_all(self) -> None:
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(SfuAwayError("closed the connection"))


def _plugin_data(answer: Message) -> Message:
    """Return what the plugin says; raise its error."""
    data = (answer.get("plugindata") or {}).get("data")
    if not isinstance(data, dict):
        raise SfuError("answers without data of its streaming plugin")
    if "error" in data:
        raise SfuError(f"refuses: {_reason(data['error'])}")
    return data


def _reason(error: object) -> str:
    text = error.get("reason", "") if isinstance(error, dict) else error
    return " ".join(str(text).split())[:200] or "without a reason"


def os_reason(error: OSError) -> str:
    """Return why a connection failed; asyncio's own text names the address."""
    if isinstance(error, socket.gaierror):
        return "no such host"
    return os.strerror(error.errno).lower() if error.errno else "the connection failed"


def _why_not(error: Exception) -> str:
    """Return why there is no connection, without the address, which may hold a password."""
    if isinstance(error, TimeoutError):
        return f"does not answer within {OPEN_S:.0f} s"
    if isinstance(error, OSError):
        return f"cannot be reached: {os_reason(error)}"
    return "answers, but not with Janus's WebSocket protocol"
