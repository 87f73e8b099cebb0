"""Limits on concurrent use, shared fairly between clients."""

from collections import Counter
from dataclasses import dataclass

from stream.errors import BusyError


@dataclass(frozen=True, slots=True)
class Client:
    """The sender of a request.

    Attributes:
        address: an IPv4 address or an IPv6 network, see `stream.api.connections.network_of`.
        is_admin: whether it may change things.
    """

    address: str
    is_admin: bool


class Budget:
    """A limited number of places: a fifth reserved for administrators, at most half per client.

    Args:
        what: what is limited, as in "too many viewers".
        places: how many there are.
    """

    def __init__(self, what: str, places: int) -> None:
        self._what = what
        self._places = places
        self._taken: Counter[Client | None] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, client: Client | None) -> None:
        """Take a place; None is the service itself, which counts only toward the total.

        Raises:
            BusyError: if none is left for that client.
        """
        total = len(self)
        if total >= self._places:
            raise BusyError(f"too many {self._what}: {total} are connected")
        if client is None:
            self._taken[client] += 1
            return
        of_viewers = sum(n for each, n in self._taken.items() if each and not each.is_admin)
        if not client.is_admin and of_viewers >= max(1, self._places - self._places // 5):
            raise BusyError(f"too many {self._what}: the places left are for administrators")
        if self._taken[client] >= max(1, self._places // 2):
            raise BusyError(f"too many {self._what} from {client.address or 'one address'}")
        self._taken[client] += 1

    def give_back(self, client: Client | None) -> None:
        """Release a place."""
        self._taken[client] -= 1
        if self._taken[client] <= 0:
            del self._taken[client]
