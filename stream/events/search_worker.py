"""Runs searches over past sightings in their own thread, beside live video."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from stream.events.search import SightingReader, SightingSearch, foreign_notice
from stream.supervisor import SupervisedTask, Supervisor

P = ParamSpec("P")
T = TypeVar("T")

FOLLOW_S = 1.0
"""Seconds until an erased sighting is removed from memory at the latest."""


class SearchWorker:
    """The index of past sightings and the thread that fills and searches it.

    The index is filled at the first search; it takes no memory before that.

    Args:
        directory: of the event log.
        model_id: of the live recognizer's model.
        embedding_size: D of that model.
        supervisor: restarts the thread after a failure.
    """

    def __init__(
        self, directory: Path, *, model_id: str, embedding_size: int, supervisor: Supervisor
    ) -> None:
        self._search = SightingSearch(directory, model_id=model_id, embedding_size=embedding_size)
        self._supervisor = supervisor
        self._worker = supervisor.jobs("search")
        self._task: SupervisedTask | None = None

    def start(self) -> None:
        """Begin to follow the event log, in the running event loop."""
        self._task = self._supervisor.task("search follower", self._follow)

    def notices(self) -> list[str]:
        """Return notices about the search for people, one line each; from any thread."""
        lines = []
        if self._search.is_loading:
            percent = int(100 * self._search.loaded)
            lines.append(f"past sightings are being read for the first search: {percent} %")
        if self._search.n_foreign:
            lines.append(foreign_notice(self._search.n_foreign))
        return lines

    async def run(
        self,
        function: Callable[Concatenate[SightingSearch, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function on the search in its thread."""
        return await self._worker.run(function, self._search, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[SightingReader, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function on the reader of sightings in the same thread."""

        def call() -> T:
            return function(self._search.reader(), *args, **kwargs)

        return await self._worker.run(call)

    def close(self) -> None:
        """End the thread; waiting searches are refused."""
        if self._task is not None:
            self._task.cancel()
        self._worker.post(self._search.close)
        self._worker.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            if self._search.is_filled:
                await self._worker.run(self._search.follow)
