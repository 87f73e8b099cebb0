"""The search of a divided gallery: each shard holds a part of the people and is asked at once.

Which shards there are, and where, is stored with the gallery as facts, so that whatever opens it
finds them. No call waits for a shard longer than a limit: what has not answered by then was not
searched, and the result says so.
"""

import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery import templates
from gallery.errors import GalleryError
from gallery.facts import Facts
from gallery.identities import Identity, Match
from gallery.probes import unit_rows
from gallery.searcher import Ranking, Searcher
from gallery.shard_link import LinkError, Request, ShardAddress, ShardLink
from gallery.store import Store

Floats = NDArray[np.float32]

SHARDS = "shards"
"""The fact that says among how many shards the people are divided; none if they are not."""

SHARD = "shard "
"""How the fact begins that says where one answers; its number follows, from 0."""

SEARCH_S = 0.25
"""How long a search waits for its shards, as for a database, seconds."""

LOOK_S = 1.0
"""How long the shards are waited for that are asked how they are, seconds."""

CHANGE_S = 2.0
"""How long they are waited for while they apply a change, seconds."""

AWAY_S = 5.0
"""How long no search tries a shard again that did not answer, seconds."""

MAX_IDLE = 8
"""Connections to a shard that are kept."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """What is known of a shard.

    Attributes:
        number: of the shard, from 1.
        of: how many there are.
        is_there: whether it answered when it was last asked.
        host: of its machine; empty before its first start.
        n_photos: that it holds, when it last answered.
        revision: of the last change that it has applied, likewise.
        n_checked: probes that it compared with all of its templates, too, likewise.
        n_equal: of those, with the same most similar person.
        pid: its process, likewise.
    """

    number: int
    of: int
    is_there: bool
    host: str = ""
    n_photos: int = 0
    revision: int = 0
    n_checked: int = 0
    n_equal: int = 0
    pid: int = 0


def n_shards(facts: Facts) -> int:
    """Return among how many shards a gallery's people are divided; 0 if they are not."""
    return int(facts.get(SHARDS) or 0)


def divide(facts: Facts, n: int) -> None:
    """Note that a gallery's people are divided among n shards; 0 for undivided."""
    if n != n_shards(facts):
        facts.put({SHARDS: str(n)})


def announce(facts: Facts, address: ShardAddress) -> None:
    """Note where a shard answers, for everybody who has the gallery open."""
    facts.put({f"{SHARD}{address.number}": address.text()})


def merged(answers: Sequence[Sequence[Any]], k: int) -> list[Match]:
    """Return the k most similar people of one probe, as one gallery of all people does.

    Args:
        answers: of each shard: person, similarity, id and name of its k most similar people.
        k: maximum number.
    """
    found = [each for answer in answers for each in answer]
    found.sort(key=lambda each: (-each[1], each[0]))
    return [Match(Identity(i, name), similarity) for _, similarity, i, name in found[:k]]


class DividedSearcher:
    """The search over the shards of a gallery; as `Searcher`, and as safe with threads.

    Args:
        store: of the gallery.
        model_id: of the model of its embeddings.
        embedding_size: D of that model.
        n: number of shards.
        clock: seconds, monotonic.
    """

    kind = "shards"

    def __init__(
        self,
        store: Store,
        *,
        model_id: str,
        embedding_size: int,
        n: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model_id = model_id
        self.embedding_size = embedding_size
        self.source = store
        self._store = store
        self._facts = Facts(store)
        self._n = n
        self._clock = clock
        self._lock = threading.Lock()
        self._change_lock = threading.RLock()
        self._addresses: dict[int, ShardAddress] = {}
        self._idle: dict[int, list[ShardLink]] = {number: [] for number in range(n)}
        self._failed_at = dict.fromkeys(range(n), float("-inf"))
        self._states = [ShardState(number + 1, n, False) for number in range(n)]
        self._seen_version = store.data_version()
        self._revision = 0
        self.catch_up()

    def __len__(self) -> int:
        """Return the number of templates of all shards, as far as they have said it."""
        return sum(each.n_photos for each in self._states)

    @property
    def known_revision(self) -> int:
        """The number of the last change that the shards were told of; costs nothing."""
        return self._revision

    @property
    def state(self) -> object:
        """Differs after a change of people, and after a shard has come or gone."""
        return self._revision, [each.revision * each.is_there for each in self._states]

    def shards(self) -> tuple[ShardState, ...]:
        """Return what is known of each shard; costs nothing."""
        return tuple(self._states)

    def close(self) -> None:
        """Close all connections to shards; safe to call twice."""
        with self._lock:
            links = [link for held in self._idle.values() for link in held]
            self._idle = {number: [] for number in range(self._n)}
        for link in links:
            link.close()

    def identities(self) -> list[Identity]:
        """Return all identities, unordered."""
        return list(templates.all_names(self._store).values())

    def ranked(self, embeddings: Floats, k: int) -> Ranking:
        """Return the k most similar identities of each probe; see `Gallery.ranked`."""
        probes, is_usable = unit_rows(embeddings, self.embedding_size)
        usable = probes[is_usable]
        if not len(usable):
            return Ranking([[] for _ in is_usable], is_whole=True)
        answers = self._ask(Request(self.model_id, k, 0, usable), SEARCH_S)
        ranked = iter(merged(each, k) for each in zip(*answers, strict=True))
        return Ranking(
            [next(ranked, []) if each else [] for each in is_usable],
            is_whole=len(answers) == self._n,
        )

    def refresh(self) -> bool:
        """Ask every shard how it is, and have it apply changes by others to the store.

        Returns:
            Whether there were new changes.
        """
        try:
            version = self._store.data_version()
        except GalleryError:  # the shards go on
            self._ask_states(LOOK_S)
            raise
        if version == self._seen_version:
            self._ask_states(LOOK_S)
            return False
        changed = self.catch_up()
        self._seen_version = version
        return changed

    def catch_up(self) -> bool:
        """Have every shard apply all changes of the store; one that is away does so at its start.

        Returns:
            Whether there were new changes.
        """
        with self._change_lock:
            self._facts.refuse_other_model(self.model_id)
            self._look()
            revision = templates.revision(self._store)
            is_new, self._revision = revision != self._revision, revision
            self._ask_states(CHANGE_S)
            return is_new

    def tidy(self, pause: Callable[[], None] = lambda: None) -> bool:
        """Do nothing: each shard tidies its own index."""
        return False

    def check_recent(self, pause: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """Return 0 of 0: each shard checks its own searches, see `ShardState`."""
        return 0, 0

    def _look(self) -> None:
        """Read where the shards are."""
        facts = self._facts.all()
        for number in range(self._n):
            address = ShardAddress.parsed(number, facts.get(f"{SHARD}{number}", ""))
            if address is None or address.of != self._n:
                self._addresses.pop(number, None)
            elif address != self._addresses.get(number):
                self._addresses[number] = address
                self._failed_at[number] = float("-inf")

    def _ask_states(self, timeout_s: float) -> None:
        nothing = np.empty((0, self.embedding_size), np.float32)
        request = Request(self.model_id, 0, self._revision, nothing)
        self._ask(request, timeout_s, is_search=False)

    def _ask(self, request: Request, timeout_s: float, *, is_search: bool = True) -> list[Any]:
        """Return what the shards found, of those that answered in time, and note who did.

        A search leaves out those that have not answered lately.
        """
        until = self._clock() + timeout_s
        message = request.packed()
        waiting: dict[int, ShardLink] = {}
        answers: dict[int, Any] = {}
        poll = select.poll()
        for number in range(self._n):
            is_left_out = is_search and self._clock() - self._failed_at[number] < AWAY_S
            link = None if is_left_out else self._link(number, until)
            if link is None:
                continue
            try:
                link.send(message, until - self._clock())
            except LinkError:
                link.close()
                continue
            waiting[number] = link
            poll.register(link, select.POLLIN)
        by_file = {link.fileno(): number for number, link in waiting.items()}
        while waiting and (left_s := until - self._clock()) > 0:
            for file, _ in poll.poll(1000 * left_s):
                number = by_file[file]
                link = waiting[number]
                try:
                    found = link.received()
                except LinkError:
                    found = {}
                if found is None:
                    continue
                poll.unregister(file)
                del waiting[number]
                if "found" in found:
                    answers[number] = found
                    self._give_back(number, link)
                else:  # it has ended, or is of another model
                    link.close()
        for link in waiting.values():
            link.close()
        for number in range(self._n):
            self._note(number, answers.get(number))
        return [answers[number]["found"] for number in sorted(answers)]

    def _link(self, number: int, until: float) -> ShardLink | None:
        """Return a connection to a shard; None where it does not answer now."""
        address = self._addresses.get(number)
        if address is None:
            return None
        with self._lock:
            held = self._idle[number]
            while held:
                link = held.pop()
                if link.address == address and not _has_ended(link):
                    return link
                link.close()
        try:
            # One that is gone without a word must leave time for the others.
            return ShardLink(address, max((until - self._clock()) / 2, 0.001))
        except LinkError:
            return None

    def _give_back(self, number: int, link: ShardLink) -> None:
        with self._lock:
            if len(self._idle[number]) < MAX_IDLE:
                self._idle[number].append(link)
                return
        link.close()

    def _note(self, number: int, answer: dict[str, Any] | None) -> None:
        address = self._addresses.get(number)
        host = "" if address is None else address.host
        if answer is not None:
            self._failed_at[number] = float("-inf")
            state = ShardState(number + 1, self._n, True, host, **answer["state"])
        else:
            if self._clock() - self._failed_at[number] >= AWAY_S:
                self._failed_at[number] = self._clock()
            state = replace(self._states[number], is_there=False, host=host)
        self._states[number] = state


def _has_ended(link: ShardLink) -> bool:
    """Return whether an idle connection can no longer be used: it has something to read."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))


AnySearcher = Searcher | DividedSearcher
