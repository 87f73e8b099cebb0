"""Threads that read and write the gallery's file while cameras are recognized.

The recognition thread never uses the file: it searches the index in memory, and is notified once
that has been replaced. Reads, writes and the check for changes by other processes have their own
threads, so that a file that is locked, slow or gone delays only the calls that need it.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from gallery import Gallery, GalleryError
from gallery.errors import busy, replaced
from stream.errors import WorkerError
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHECK_S = 0.5
"""How often other processes' changes are looked for."""

WAIT_S = 3.0
"""How long a write waits for other writers, and as long for its turn, before it is refused."""

READERS = 4
"""Reads at a time; each is a page's or a program's question about people."""


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

    Attributes:
        trouble: why the file cannot be used now, one line; empty if it can.
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
    ) -> None:
        self.trouble = ""
        self._gallery = gallery
        self._threshold = threshold
        self._changed = changed
        self._applied = applied
        self._clock = clock
        self._notify_lock = threading.Lock()
        self._notified_revision = gallery.known_revision
        self._locked_since: float | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="gallery-read")
        self._writer = supervisor.jobs("gallery-write")
        self._stopping = threading.Event()
        self._thread = supervisor.thread("gallery-watch", self._watch)

    def start(self) -> None:
        """Start watching the file."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse further calls and end the threads; a call blocked on the disk is not awaited."""
        self._stopping.set()
        self._thread.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writer.close(drop=True)

    def join(self, timeout_s: float) -> None:
        """Wait for the threads that watch and write, up to the timeout each."""
        self._thread.join(timeout_s)
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
                raise busy(self._gallery.file.path)
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
            revision = self._gallery.known_revision
            if revision != self._notified_revision:
                self._changed(self._threshold())
                self._notified_revision = revision

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_S):
            trouble = self._check()
            if trouble and trouble != self.trouble:
                logger.error("%s", trouble)
            self.trouble = trouble

    def _check(self) -> str:
        """Apply the changes of other processes; return the problem with the file, one line."""
        file = self._gallery.file
        try:
            if file.is_replaced():
                # Otherwise the new file would be opened with the old file's log.
                file.truncate_log()
                return str(replaced(file.path))
            self._gallery.refresh()
            self._notify()
            is_locked = file.is_locked()
        except GalleryError as error:
            # Damaged, unreadable or of another model by now: the index in memory stays in use.
            return str(error)
        if not is_locked:
            self._locked_since = None
            return ""
        now = self._clock()
        if self._locked_since is None:
            self._locked_since = now
            return ""  # a short write is not reported
        return (
            f"the gallery {file.path.parent} is busy: another process is writing to it; people "
            "are recognized, but cannot be added or changed until it ends"
        )
