"""The WebSockets over which a page's videos of other machines are arranged.

A page has one to each machine whose cameras it shows, opened at the first one and closed with the
page, which ends its connections there. Media go straight from that machine to the browser.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stream.errors import MachineError
from stream.front.front import CONNECT_S, REFUSES, Front
from stream.front.machines import Machine
from stream.front.signed_calls import Caller

PING_S, PONG_S = 3.0, 5.0
"""Seconds between two pings, and to wait for the answer: a frozen machine keeps its connection."""

MAX_MESSAGE_BYTES = 1 << 20
MAX_WAITING = 64
RETRY_S = 2.0
"""Seconds after a failure in which a machine is not connected to again for faces alone."""

SOCKET = "/api/ws"


class Relay:
    """A page's WebSocket to one other machine; for the event loop only.

    Args:
        front: signs the call.
        machine: the other one.
        caller: the page's client.
        say: called with each message for the page, as text.
        ended: called once, at the end.
    """

    def __init__(
        self,
        front: Front,
        machine: Machine,
        caller: Caller,
        *,
        say: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        self.machine = machine
        self._front = front
        self._caller = caller
        self._say = say
        self._ended = ended
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._asked: set[str] = set()
        self._watched: set[str] = set()
        self.task = asyncio.create_task(self._run(), name="page-relay")

    @property
    def offers(self) -> set[str]:
        """The ids of offers that were sent and not closed."""
        return self._asked | self._watched

    def offer(self, offer_id: str, text: str) -> None:
        """Send an offer of the page; its answer follows as a message."""
        self.send(text)
        self._asked.add(offer_id)

    def close(self, offer_id: str) -> None:
        """End the connection of an offer."""
        self._asked.discard(offer_id)
        self._watched.discard(offer_id)
        self.send(json.dumps({"type": "close", "id": offer_id}))

    def send(self, text: str) -> None:
        """Send a message; a machine that reads none is let go."""
        try:
            self._waiting.put_nowait(text)
        except asyncio.QueueFull:
            self.task.cancel()

    async def _run(self) -> None:
        why = "the connection was lost"
        try:
            async with connect(
                f"ws{self.machine.url.removeprefix('http')}{SOCKET}",
                additional_headers=self._front.header(
                    self._caller, self.machine, method="GET", path=SOCKET, query=b""
                ),
                open_timeout=CONNECT_S * 2,
                close_timeout=0.5,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            ) as socket:
                writing = asyncio.create_task(self._write(socket), name="page-relay-write")
                try:
                    async for message in socket:
                        self._receive(message if isinstance(message, str) else message.decode())
                finally:
                    writing.cancel()
        except InvalidStatus as error:
            status = error.response.status_code
            why = REFUSES if status == 403 else f"HTTP status {status}"
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, EOFError):
            why = "cannot connect"
        except (ConnectionClosed, ValueError):
            pass
        finally:
            self._end(why)

    def _end(self, why: str) -> None:
        name = self.machine.name
        for offer_id in self._asked:
            message = f"machine {name}, which runs this camera, does not answer: {why}"
            self._say(json.dumps({"type": "error", "id": offer_id, "message": message}))
        for offer_id in self._watched:
            self._say(json.dumps({"type": "closed", "id": offer_id}))
        self._ended()

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.send(await self._waiting.get())

    def _receive(self, text: str) -> None:
        """Pass on what concerns the page's offers, and faces."""
        message = json.loads(text)
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "tracks":
            self._say(text)
            return
        offer_id = message.get("id") if kind in {"answer", "error", "closed"} else None
        if offer_id not in self.offers:
            return
        self._asked.discard(offer_id)
        if kind == "answer":
            self._watched.add(offer_id)
        else:
            self._watched.discard(offer_id)
        self._say(text)


class Relays:
    """A page's WebSockets to other machines; for the event loop only.

    Args:
        front: knows and calls the others.
        caller: the page's client.
        say: called with each message for the page, as text.
    """

    def __init__(self, front: Front, caller: Caller, say: Callable[[str], None]) -> None:
        self._front = front
        self._caller = caller
        self._say = say
        self._by_node: dict[int, Relay] = {}
        self._followed: tuple[int, str] | None = None
        self._failed_at: dict[int, float] = {}

    def __contains__(self, offer_id: str) -> bool:
        return any(offer_id in each.offers for each in self._by_node.values())

    def __len__(self) -> int:
        return sum(len(each.offers) for each in self._by_node.values())

    def watch(self, camera: str, offer_id: str, text: str) -> bool:
        """Send an offer to the machine that runs a camera; return whether another one does.

        Raises:
            MachineError: if that is away.
        """
        machine = self._front.machines.owner_of(camera)
        if machine is None:
            return False
        if machine.is_away:
            raise MachineError(
                f"machine {machine.name}, which runs {camera}, has not answered for "
                f"{machine.seen_s:.0f} s"
            )
        self._to(machine).offer(offer_id, text)
        return True

    def close(self, offer_id: str) -> None:
        """End the connection of an offer; does nothing if it is none of another machine."""
        for relay in self._by_node.values():
            if offer_id in relay.offers:
                relay.close(offer_id)
                return

    def follow(self, camera: str | None) -> bool:
        """Receive the faces of a camera; to be called again and again.

        Returns:
            Whether another machine runs the camera.
        """
        machine = None if camera is None else self._front.machines.owner_of(camera)
        wanted = None if machine is None or camera is None else (machine.node, camera)
        if wanted != self._followed:
            if self._followed is not None and (relay := self._by_node.get(self._followed[0])):
                relay.send(json.dumps({"type": "follow", "camera": None}))
            self._followed = None
        if machine is None or wanted == self._followed:
            return machine is not None
        now = asyncio.get_running_loop().time()
        if not machine.is_away and now - self._failed_at.get(machine.node, -RETRY_S) >= RETRY_S:
            self._to(machine).send(json.dumps({"type": "follow", "camera": camera}))
            self._followed = wanted
        return True

    async def end(self) -> None:
        """Close all, with the connections that were arranged over them."""
        tasks = [each.task for each in self._by_node.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _to(self, machine: Machine) -> Relay:
        relay = self._by_node.get(machine.node)
        if relay is None:
            relay = Relay(
                self._front,
                machine,
                self._caller,
                say=self._say,
                ended=lambda: self._lost(machine.node),
            )
            self._by_node[machine.node] = relay
        return relay

    def _lost(self, node: int) -> None:
        self._by_node.pop(node, None)
        self._failed_at[node] = asyncio.get_running_loop().time()
        if self._followed is not None and self._followed[0] == node:
            self._followed = None
