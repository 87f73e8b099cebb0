"""Threads that read and write the gallery's file while cameras are recognized.

The recognition thread never uses the file: it searches the index in memory, and is notified once
that has been replaced. Reads, writes and the check for changes by other processes have their own
threads, so that a file that is locked, slow or gone delays only the calls that need it.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from gallery import Gallery, GalleryError
from gallery.errors import GalleryUnreachableError, busy
from gallery.people_copy import PeopleCopy
from stream.errors import WorkerError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHECK_S = 0.5
"""How often other processes' changes are looked for."""

WAIT_S = 3.0
"""How long a write waits for other writers, and as long for its turn, before it is refused."""

TIDY_S = 60.0
"""How often a very large gallery's index is checked, and written anew if much has changed."""

COPY_S = 1.0
"""How often changes are looked for that are not yet in the copy of a database's people."""

PAUSE_S = 0.01
"""After each hundredth of a second of that work, which yields to everything else."""

READERS = 4
"""Reads at a time; each is a page's or a program's question about people."""


class StoppedError(Exception):
    """The service stops."""


class GalleryWorker:
    """Runs calls of the gallery in its own threads, and watches its file.

    Args:
        gallery: the gallery, opened with `wait_s=WAIT_S`.
        threshold: returns the match threshold for the present people, cosine; reads the file.
        changed: called with the threshold after any change to people or photos, by any process;
            in a thread of this worker.
        applied: awaited after a change by this process; returns once it is applied to the tracks.
        supervisor: restarts the threads that fail.
        clock: seconds, monotonic.
        copy: of the people of a database, kept up to date; None for a file.

    Attributes:
        trouble: why the file cannot be used now, one line; empty if it can.
        copy_trouble: why the copy cannot be written, likewise.
        n_checked: probes of a very large gallery that were compared with all templates, too.
        n_equal: how many of them had the same most similar person.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        threshold: Callable[[], float],
        changed: Callable[[float], None],
        applied: Callable[[], Awaitable[None]],
        supervisor: Supervisor,
        clock: Callable[[], float],
        copy: PeopleCopy | None = None,
    ) -> None:
        self.trouble = self.copy_trouble = ""
        self.n_checked = self.n_equal = 0
        self._gallery = gallery
        self._copy = copy
        self._threshold = threshold
        self._changed = changed
        self._applied = applied
        self._clock = clock
        self._notify_lock = threading.Lock()
        self._notified = gallery.state
        self._locked_since: float | None = None
        self._is_away = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="gallery-read")
        self._writer = supervisor.jobs("gallery-write")
        self._stopping = threading.Event()
        self._thread = supervisor.thread("gallery-watch", self._watch)
        self._tidying = supervisor.thread("gallery-tidy", self._tidy)
        self._copying = None if copy is None else supervisor.thread("gallery-copy", self._keep_copy)

    def start(self) -> None:
        """Start watching the file."""
        self._thread.start()
        self._tidying.start()
        if self._copying is not None:
            self._copying.start()

    def stop(self) -> None:
        """Refuse further calls and end the threads; a call blocked on the disk is not awaited."""
        self._stopping.set()
        self._thread.stop()
        self._tidying.stop()
        if self._copying is not None:
            self._copying.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writer.close(drop=True)

    def join(self, timeout_s: float) -> None:
        """Wait for the threads that watch, tidy, copy and write, up to the timeout each."""
        self._thread.join(timeout_s)
        self._tidying.join(timeout_s)
        if self._copying is not None:
            self._copying.join(timeout_s)
        self._writer.join(timeout_s)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that reads people; does not wait for writes."""
        return await self._run(partial(function, *args, **kwargs))

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that changes people, once it is applied to the tracks.

        One function runs at a time.

        Raises:
            GalleryBusyError: if other writers locked the file for too long; nothing was changed.
        """
        called_at = self._clock()

        def call() -> T:
            if self._clock() - called_at > WAIT_S:
                raise busy(self._gallery.store.place)
            result = function(*args, **kwargs)
            self._notify()
            return result

        result = await self._writer.run(call)
        await self._applied()
        return result

    async def notify(self) -> None:
        """Apply changes made elsewhere in this process to the tracks, before it returns."""
        await self._run(self._notify)
        await self._applied()

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            future = self._readers.submit(call)
        except RuntimeError as error:  # shut down
            raise WorkerError("the service is stopping") from error
        return await asyncio.wrap_future(future)

    def _notify(self) -> None:
        with self._notify_lock:
            state = self._gallery.state
            if state != self._notified:
                self._changed(self._threshold())
                self._notified = state

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_S):
            trouble = self._check()
            if trouble and trouble != self.trouble:
                logger.error("%s", trouble)
            self.trouble = trouble

    def _keep_copy(self) -> None:
        is_stopping = False
        while not is_stopping:
            # Once more at the end: somebody may have been erased just now.
            is_stopping = self._stopping.wait(COPY_S)
            self.copy_trouble = self._update_copy()
        if self._copy is not None:
            self._copy.close()

    def _update_copy(self) -> str:
        """Make the copy the same as the database; return why it cannot be, one line."""
        if self._copy is None or self._is_away:
            return self.copy_trouble
        try:
            self._copy.update(self._gallery.store)
        except GalleryUnreachableError:  # `trouble` says that
            return self.copy_trouble
        except GalleryError as error:
            trouble = f"the copy of the people on this machine is not up to date: {error}"
            if trouble != self.copy_trouble:
                logger.error("%s", trouble)
            return trouble
        return ""

    def _tidy(self) -> None:
        if sys.platform == "linux":  # where threads have their own priorities
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._stopping.wait(TIDY_S):
            try:
                self._gallery.tidy(self._pause)
                n_checked, n_equal = self._gallery.check_recent(self._pause)
            except StoppedError:
                return
            except GalleryError as error:
                logger.warning("the index is not tidied now: %s", error)
            else:
                self.n_checked += n_checked
                self.n_equal += n_equal

    def _pause(self) -> None:
        if self._stopping.wait(PAUSE_S):
            raise StoppedError

    def _check(self) -> str:
        """Apply the changes of other processes; return the problem with the file, one line."""
        store = self._gallery.store
        try:
            store.refuse_replaced()
            self._gallery.refresh()
            self._notify()
            is_locked = store.is_locked()
            self._is_away = False
        except GalleryError as error:
            self._is_away = isinstance(error, GalleryUnreachableError)
            # Damaged, unreadable or of another model by now: the index in memory stays in use.
            copied_at = self._gallery.copied_at
            if copied_at is None:
                return str(error)
            return f"people of {_shown(copied_at)}, the database is away: {error}"
        if not is_locked:
            self._locked_since = None
            return ""
        now = self._clock()
        if self._locked_since is None:
            self._locked_since = now
            return ""  # a short write is not reported
        return (
            f"the gallery {store.place} is busy: another process is writing to it; people "
            "are recognized, but cannot be added or changed until it ends"
        )


def _shown(wall_at: float) -> str:
    """Return a moment for people, of today without the date."""
    then = time.localtime(wall_at)
    is_today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", then)
