"""Recognizes photos beside live video, with its own recognizer and thread."""

import logging
from collections.abc import Callable
from typing import TypeVar

from recognizer import ModelFileError, Recognizer
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

T = TypeVar("T")


class PhotoWorker:
    """Runs functions over photos, one at a time, while live video goes on.

    Args:
        open_recognizer: opens a recognizer of the live one's model; takes `attributes`, whether it
            estimates gender and age. Called with the first photos.
        supervisor: restarts the thread if it fails.
    """

    def __init__(
        self, open_recognizer: Callable[..., Recognizer], *, supervisor: Supervisor
    ) -> None:
        self._open_recognizer = open_recognizer
        self._recognizer: Recognizer | None = None
        self._worker = supervisor.jobs("photos")

    async def run(self, function: Callable[[Recognizer], T]) -> T:
        """Return the result of a function called with the recognizer for photos.

        Raises:
            RecognizerError: if the recognizer cannot be opened.
            WorkerError: if the service is stopping.
        """
        return await self._worker.run(self._with_recognizer, function)

    def close(self) -> None:
        """End the thread; waiting calls are refused."""
        self._worker.close(drop=True)

    def _with_recognizer(self, function: Callable[[Recognizer], T]) -> T:
        if self._recognizer is None:
            try:
                self._recognizer = self._open_recognizer(attributes=True)
            except ModelFileError as error:  # not fetched yet, and offline
                logger.warning("answers about photos leave out gender and age: %s", error)
                self._recognizer = self._open_recognizer(attributes=False)
        return function(self._recognizer)
