"""Messages between a divided gallery and its shards over TCP; both ends.

Each end proves that it knows the shard's key (HMAC-SHA256 of the other's random bytes); nothing is
encrypted. Then there is an answer to each request: its length in four bytes, and JSON. Embeddings
follow the JSON of a request, after a line feed.
"""

import hmac
import json
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RANDOM_BYTES = 32
LENGTH = struct.Struct(">I")
MAX_BYTES = 64 << 20
FROM_SHARD, TO_SHARD = b"shard", b"asker"


class LinkError(Exception):
    """The other end is gone, is not what it should be, or sends what cannot be read."""


@dataclass(frozen=True, slots=True)
class ShardAddress:
    """Where a shard answers.

    Attributes:
        number: of the shard, from 0.
        of: how many there are.
        host, port: of its socket.
        key: what both ends know; new with each start of the shard.
    """

    number: int
    of: int
    host: str
    port: int
    key: str

    @classmethod
    def parsed(cls, number: int, text: str) -> Self | None:
        """Return what `text` stored; None where another version wrote it."""
        try:
            return cls(number=number, **json.loads(text))
        except (ValueError, TypeError):
            return None

    def text(self) -> str:
        """Return it as a fact of the gallery."""
        return json.dumps({"of": self.of, "host": self.host, "port": self.port, "key": self.key})


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a shard is asked.

    Attributes:
        model_id: of the probes; a shard of another model does not answer.
        k: how many people of each probe are wanted.
        revision: changes up to this one are to be applied before the answer; 0 for a search.
        probes: (N, D) float32; empty to ask for the state alone.
    """

    model_id: str
    k: int
    revision: int
    probes: Floats

    def packed(self) -> bytes:
        """Return it as bytes."""
        head = [self.model_id, self.k, self.revision, *self.probes.shape]
        return json.dumps(head).encode() + b"\n" + self.probes.tobytes()

    @classmethod
    def parsed(cls, data: bytes) -> Self:
        """Return the request of some bytes.

        Raises:
            LinkError: if they are none.
        """
        head, _, rows = data.partition(b"\n")
        try:
            model_id, k, revision, n, size = json.loads(head)
            probes = np.frombuffer(rows, np.float32).reshape(n, size)
        except (ValueError, TypeError) as error:
            raise LinkError("a request cannot be read") from error
        return cls(model_id, k, revision, probes)


class ShardLink:
    """A connection to a shard, for one request at a time.

    Args:
        address: of the shard.
        timeout_s: how long connecting may take, seconds.

    Attributes:
        address: of the shard.

    Raises:
        LinkError: if there is no such shard, or it takes longer.
    """

    def __init__(self, address: ShardAddress, timeout_s: float) -> None:
        self.address = address
        self._buffer = bytearray()
        until = time.monotonic() + timeout_s
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout_s)
        except OSError as error:
            raise LinkError(str(error)) from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._introduce(address.key.encode(), until)
        except (OSError, LinkError) as error:
            self._socket.close()
            raise LinkError(str(error)) from error

    def fileno(self) -> int:
        """Return the number of the socket, to be waited for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._socket.close()

    def send(self, message: bytes, timeout_s: float) -> None:
        """Send a request.

        Raises:
            LinkError: if the shard is gone, or takes longer.
        """
        try:
            self._socket.settimeout(max(timeout_s, 0.001))
            self._socket.sendall(LENGTH.pack(len(message)) + message)
        except OSError as error:
            raise LinkError(str(error)) from error

    def received(self) -> Any:
        """Return the answer, once all of it is there; None before. Does not wait.

        Raises:
            LinkError: if the shard is gone.
        """
        try:
            data = self._socket.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LinkError(str(error)) from error
        if not data:
            raise LinkError("it has ended")
        self._buffer += data
        if len(self._buffer) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        try:
            answer = json.loads(self._buffer[LENGTH.size : end])
        except ValueError as error:
            raise LinkError("an answer cannot be read") from error
        del self._buffer[:end]
        return answer

    def _introduce(self, key: bytes, until: float) -> None:
        self._socket.settimeout(max(until - time.monotonic(), 0.001))
        theirs, ours = exactly(self._socket, RANDOM_BYTES), secrets.token_bytes(RANDOM_BYTES)
        self._socket.sendall(ours + _proof(key, TO_SHARD, theirs, ours))
        proof = exactly(self._socket, RANDOM_BYTES)
        if not hmac.compare_digest(proof, _proof(key, FROM_SHARD, theirs, ours)):
            raise LinkError("another program answers at its address")


def welcome(connection: socket.socket, key: str) -> None:
    """Let somebody who knows the key ask, at the shard's end.

    Raises:
        LinkError: if it does not.
        OSError: if it is gone, or takes longer than the socket's timeout.
    """
    ours = secrets.token_bytes(RANDOM_BYTES)
    connection.sendall(ours)
    theirs, proof = exactly(connection, RANDOM_BYTES), exactly(connection, RANDOM_BYTES)
    if not hmac.compare_digest(proof, _proof(key.encode(), TO_SHARD, ours, theirs)):
        raise LinkError("somebody asks without the key")
    connection.sendall(_proof(key.encode(), FROM_SHARD, ours, theirs))


def receive(connection: socket.socket) -> Request:
    """Wait for a request, at the shard's end.

    Raises:
        LinkError: if the other end is gone, or sends what cannot be read.
        OSError: if the connection breaks.
    """
    (length,) = LENGTH.unpack(exactly(connection, LENGTH.size))
    if length > MAX_BYTES:
        raise LinkError("a request is too long")
    return Request.parsed(exactly(connection, length))


def answer(connection: socket.socket, document: object) -> None:
    """Send an answer, at the shard's end.

    Raises:
        OSError: if the connection breaks.
    """
    message = json.dumps(document).encode()
    connection.sendall(LENGTH.pack(len(message)) + message)


def exactly(connection: socket.socket, n: int) -> bytes:
    """Return the next n bytes.

    Raises:
        LinkError: if the other end is gone.
        OSError: if the connection breaks, or the socket's timeout is over.
    """
    found = bytearray()
    while len(found) < n:
        data = connection.recv(n - len(found))
        if not data:
            raise LinkError("it has ended")
        found += data
    return bytes(found)


def _proof(key: bytes, by: bytes, shards: bytes, askers: bytes) -> bytes:
    return hmac.digest(key, by + shards + askers, "sha256")
