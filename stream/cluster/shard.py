"""A shard of a divided gallery: it holds its share of the people and answers searches; no Ray."""

import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from gallery import Access, GalleryError, ModelMismatchError, Place, shard_link
from gallery.facts import Facts
from gallery.opening import open_store
from gallery.searcher import Searcher
from gallery.shard_link import LinkError, Request, ShardAddress
from gallery.shards import announce
from gallery.store import Store
from gallery.templates import Share
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

CHECK_S = 0.2
"""How often changes in the database are looked for, besides when somebody tells of them."""

TRY_AGAIN_S = 1.0
TIDY_S = 60.0
"""How often the index is checked, and the latest searches are repeated."""

PAUSE_S = 0.01
"""After each hundredth of a second of that work, which yields to searches."""

GREET_S = 2.0
"""How long somebody who connects may take to prove that it knows the key, seconds."""

MAX_ASKERS = 256
"""Connections at a time: a few for each process of each machine."""


class StoppedError(Exception):
    """The shard stops."""


class Shard:
    """Reads its share of the people, and answers searches until its process ends.

    It is found once it has read them: its address is then a fact of the gallery.

    Args:
        place: of the gallery.
        share: of the people.
        host: address of this machine, on which it listens.

    Attributes:
        trouble: why it does not answer, or does not follow changes, one line; empty if it does.
    """

    def __init__(self, place: Place, share: Share, host: str) -> None:
        self.trouble = ""
        self._place = place
        self._share = share
        self._key = secrets.token_hex(32)
        self._searcher: Searcher | None = None
        self._n_checked = self._n_equal = 0
        self._askers = threading.Semaphore(MAX_ASKERS)
        self._socket = socket.create_server((host, 0), backlog=MAX_ASKERS)
        self._address = ShardAddress(
            share.number, share.of, host, int(self._socket.getsockname()[1]), self._key
        )
        self._stopping = threading.Event()
        supervisor = Supervisor(clock=time.monotonic)
        self._threads = [
            supervisor.thread("shard", self._follow),
            supervisor.thread("shard-listen", self._listen),
            supervisor.thread("shard-tidy", self._tidy),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer no more; returns at once."""
        self._stopping.set()
        for thread in self._threads:
            thread.stop()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _follow(self) -> None:
        """Read the people, and apply changes to them."""
        store: Store | None = None
        while not self._stopping.is_set():
            try:
                if store is None:
                    store = open_store(self._place, access=Access.WRITE)
                if self._searcher is None:
                    self._searcher = self._opened(store)
                    if self._searcher is not None:
                        announce(Facts(store), self._address)
                        logger.info("it holds %d photos", len(self._searcher))
                else:
                    self._searcher.refresh()
                trouble = "" if self._searcher is not None else "nobody is enrolled yet"
            except ModelMismatchError:  # all was embedded anew
                self._searcher, trouble = None, ""
            except GalleryError as error:
                trouble = str(error)
            if trouble and trouble != self.trouble:
                logger.warning("%s", trouble)
            self.trouble = trouble
            self._stopping.wait(TRY_AGAIN_S if trouble else CHECK_S)
        if store is not None:
            store.close()

    def _opened(self, store: Store) -> Searcher | None:
        """Return the search over the share; None while the gallery has no model."""
        facts = Facts(store).all()
        model_id, size = facts.get("model_id"), facts.get("embedding_size")
        if model_id is None or size is None:
            return None
        return Searcher(store, model_id=model_id, embedding_size=int(size), share=self._share)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                asker, _ = self._socket.accept()
            except OSError:  # stopped, or gone before it was accepted
                continue
            if not self._askers.acquire(blocking=False):
                asker.close()
                continue
            threading.Thread(target=self._serve, args=(asker,), daemon=True).start()

    def _serve(self, asker: socket.socket) -> None:
        try:
            with asker:
                asker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                asker.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                asker.settimeout(GREET_S)
                shard_link.welcome(asker, self._key)
                asker.settimeout(None)
                while not self._stopping.is_set():
                    request = shard_link.receive(asker)
                    shard_link.answer(asker, self._answer(request))
        except (OSError, LinkError) as error:
            logger.debug("somebody asks no longer: %s", error)
        finally:
            self._askers.release()

    def _answer(self, request: Request) -> dict[str, Any]:
        searcher = self._searcher
        if searcher is None or request.model_id != searcher.model_id:
            return {"error": "it holds nobody of this model"}
        if request.revision > searcher.known_revision:
            with suppress(GalleryError):  # its own look for changes says why
                searcher.catch_up()
        found = []
        if len(request.probes):
            try:
                ranked = searcher.best_persons(request.probes, request.k)
            except ValueError as error:
                return {"error": str(error)}
            found = [
                [
                    (person, each.similarity, each.identity.identity_id, each.identity.name)
                    for person, each in matches
                ]
                for matches in ranked
            ]
        return {
            "found": found,
            "state": {
                "n_photos": len(searcher),
                "revision": searcher.known_revision,
                "n_checked": self._n_checked,
                "n_equal": self._n_equal,
                "pid": os.getpid(),
            },
        }

    def _tidy(self) -> None:
        with suppress(OSError, AttributeError):  # on Linux, threads have their own priorities
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._stopping.wait(TIDY_S):
            searcher = self._searcher
            if searcher is None:
                continue
            try:
                searcher.tidy(self._pause)
                n_checked, n_equal = searcher.check_recent(self._pause)
            except StoppedError:
                return
            except GalleryError as error:
                logger.warning("the index is not tidied now: %s", error)
            else:
                self._n_checked += n_checked
                self._n_equal += n_equal

    def _pause(self) -> None:
        if self._stopping.wait(PAUSE_S):
            raise StoppedError
