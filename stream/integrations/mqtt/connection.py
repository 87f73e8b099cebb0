"""How a broker is connected to, and why it failed in one line."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Self

import aiomqtt

from stream.config import MqttConfig

TIMEOUT_S = 10.0
"""Seconds for each exchange with the broker."""

KEEPALIVE_S = 30
"""Seconds without a message after which both sides make sure that the other is there."""

REFUSED = frozenset({132, 133, 134, 135, 138})
"""Reason codes of MQTT 5, section 3.2.2.2: protocol version, client identifier, user or password,
not authorized, banned. paho-mqtt converts those of MQTT 3.1.1 to these."""

BAD_LOGIN = frozenset({134, 135})


class CaFileError(OSError):
    """Raised when the file of the authority holds no certificate; the message says which."""


class _Client(aiomqtt.Client):
    """aiomqtt's client, which waits to write to no socket that was closed meanwhile.

    aiomqtt 2.5.1 tells the loop a turn later, by the number that the socket had: an error if the
    broker has closed the connection by then, and if another thread has that number for a socket of
    its own, the loop would run without a pause.

    A connection that ends after nobody waits for it any more, because the broker did not answer in
    time, is no error.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watch()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._watch()  # it may have made new ones
        return self

    def _watch(self) -> None:
        for future in (self._connected, self._disconnected):
            future.add_done_callback(_retrieve)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except (OSError, ValueError) as error:  # the second of a TLS socket that is closed
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            if (number := sock.fileno()) >= 0:
                self._loop.add_writer(number, write)

        self._loop.call_soon_threadsafe(register)


def _retrieve(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.exception()


def open_client(
    config: MqttConfig, *, identifier: str, will: aiomqtt.Will | None = None
) -> aiomqtt.Client:
    """Return a client of the configured broker, to be entered.

    Raises:
        CaFileError: if the file of the authority cannot be used.
    """
    broker = config.broker
    context = None
    if broker.is_tls:
        try:
            context = ssl.create_default_context(cafile=config.ca_file and str(config.ca_file))
        except ssl.SSLError:
            raise CaFileError(f"is not tried: {config.ca_file} holds no PEM certificate") from None
        except OSError as error:
            why = (error.strerror or "").lower()
            raise CaFileError(f"is not tried: cannot read {config.ca_file}: {why}") from None
    is_5 = config.version == "5"
    return _Client(
        broker.host,
        broker.port,
        username=config.user or None,
        password=config.password or None,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311,
        will=will,
        clean_session=None if is_5 else True,
        timeout=TIMEOUT_S,
        keepalive=KEEPALIVE_S,
        tls_context=context,
    )


async def try_connection(config: MqttConfig) -> str:
    """Connect once and disconnect; return why it failed as `reason` does, or an empty text."""
    try:
        async with open_client(config, identifier=f"facewire-check-{secrets.token_hex(4)}"):
            return ""
    except (aiomqtt.MqttError, OSError) as error:
        return reason(error, config)


def is_refusal(error: BaseException) -> bool:
    """Return whether the broker refused the client, so that a quick retry is of no use."""
    return any(
        isinstance(cause, aiomqtt.MqttCodeError) and _code(cause) in REFUSED
        for cause in _causes(error)
    )


def reason(error: BaseException, config: MqttConfig) -> str:
    """Return why a connection failed: one line that follows "the broker HOST:PORT"."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, aiomqtt.MqttCodeError):
            code = _code(cause)
            if code in BAD_LOGIN:
                return (
                    "refuses the user or password: check user, and FACEWIRE_MQTT_PASSWORD"
                    if config.user
                    else "wants a user and password: set user, and FACEWIRE_MQTT_PASSWORD"
                )
            if code in REFUSED:
                return f"refuses the connection: {cause.rc!s}".lower()
    for cause in causes:
        match cause:
            case CaFileError():
                return str(cause)
            case ssl.SSLCertVerificationError():
                why = cause.verify_message.lower()
                return f"has no valid certificate: {why}; ca_file names who signed it"
            case ssl.SSLError():
                return "cannot be reached: no TLS there"
            case socket.gaierror():
                return "cannot be found: check the host name"
            case TimeoutError() | asyncio.TimeoutError():
                return "does not answer in time"
            case OSError() if cause.strerror:
                return f"cannot be reached: {cause.strerror.lower()}"
    if any("timed out" in str(cause).lower() for cause in causes):
        return "does not answer in time"
    return "closed the connection"


def _code(error: aiomqtt.MqttCodeError) -> int | None:
    value = getattr(error.rc, "value", error.rc)
    return value if isinstance(value, int) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
