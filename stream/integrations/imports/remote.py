"""Photos that another program gives over HTTP, as items to be enrolled."""

import errno
import threading
from collections.abc import Mapping
from functools import partial

from stream.enrollment.enrollment import EnrolItem
from stream.errors import EnrolmentError
from stream.integrations.http_api import HttpAnswer, HttpApi, HttpApiError

MAX_PHOTO = 64 * 2**20
"""Bytes of one photo; CompreFace takes 5 MB, Frigate's are smaller."""

MAX_PHOTOS = 200_000
"""Photos of one program; listing more would need several runs' memory."""

MAX_FAILED = 3
"""Photos in a row without an answer after which the program counts as gone."""


class RemotePhotos:
    """Loads photos, and gives up when the program went away; safe to use from several threads.

    Args:
        api: of the program.
        program: its name, for messages.
        empty: why a photo may have no bytes.
    """

    def __init__(self, api: HttpApi, *, program: str, empty: str) -> None:
        self._api = api
        self._program = program
        self._empty = empty
        self._n_failed = 0
        self._lock = threading.Lock()

    def item(self, label: str, name: str, *path: str) -> EnrolItem:
        """Return the item of a photo at a path, given by its parts."""
        return EnrolItem(label, name, partial(self._load, path))

    def _load(self, path: tuple[str, ...]) -> bytes:
        """Return the bytes of a photo.

        Raises:
            OSError: if this one cannot be had.
            EnrolmentError: if none can any more.
        """
        try:
            answer = self._api.request("GET", *path, most=MAX_PHOTO)
        except HttpApiError as error:
            if error.is_away and self._count(is_failed=True) >= MAX_FAILED:
                raise EnrolmentError(
                    f"{error}: when {self._program} runs again, repeat the command for the rest"
                ) from None
            raise OSError(errno.EIO, str(error)) from None
        self._count(is_failed=False)
        if answer.status != 200:
            raise OSError(errno.EIO, f"{self._program} answers {answer.status}")
        if not answer.body:
            raise OSError(errno.ENODATA, self._empty)
        return answer.body

    def _count(self, *, is_failed: bool) -> int:
        """Count an outcome; return the number of failures in a row."""
        with self._lock:
            self._n_failed = self._n_failed + 1 if is_failed else 0
            return self._n_failed


def listing(
    api: HttpApi, *path: str, program: str, params: Mapping[str, str | int] | None = None
) -> HttpAnswer:
    """Return the answer to a question for a list.

    Raises:
        EnrolmentError: if the program does not answer.
    """
    try:
        return api.request("GET", *path, params=params)
    except HttpApiError as error:
        raise EnrolmentError(f"cannot read the people of {program}: {error}") from None


def is_plain(part: str) -> bool:
    """Return whether a name from a list is one part of a path, and cannot lead elsewhere."""
    return bool(part) and part not in {".", ".."} and not set(part) & set("/\\\0")
