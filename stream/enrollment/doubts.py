"""Detects that a person's first photo is wrong, rather than all later ones.

A person's first photo decides what later ones must look like. Where it shows somebody else, every
right photo is refused as unlike it: several refused photos that are similar to each other show it.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ENOUGH = 3
"""Similar refused photos, from which on the first photo is in doubt."""

KEPT_S = 900.0
"""How long a refused face is remembered: photos are added one after another, within minutes."""

MAX_PEOPLE, MAX_FACES = 100, 8
SAME_PHOTO = 0.999
"""Cosine from which on two faces are of one photo, given twice."""


class Doubts:
    """Remembers, in memory alone and for some minutes, which faces were refused for whom.

    Any thread may call.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: OrderedDict[str, list[tuple[float, Floats]]] = OrderedDict()

    def refuse(self, identity_id: str, embeddings: Sequence[Floats], *, least: float) -> int:
        """Note faces that were refused as unlike a person.

        Args:
            identity_id: of the person.
            embeddings: (D,) float32 of unit length each.
            least: cosine from which on two faces may be one person's.

        Returns:
            How many of those refused for this person by now look alike: as much as one of them
            and all that are like it.
        """
        now = self._clock()
        with self._lock:
            faces = self._refused.pop(identity_id, [])
            faces = [(at, face) for at, face in faces if now - at < KEPT_S]
            for embedding in embeddings:
                if all(float(embedding @ face) < SAME_PHOTO for _, face in faces):
                    faces.append((now, embedding))
            self._refused[identity_id] = faces[-MAX_FACES:]
            while len(self._refused) > MAX_PEOPLE:
                self._refused.popitem(last=False)
            rows = np.stack([face for _, face in self._refused[identity_id]])
        return int(((rows @ rows.T) >= least).sum(axis=1).max())

    def forget(self, identity_id: str) -> None:
        """Forget who was refused for a person."""
        with self._lock:
            self._refused.pop(identity_id, None)


def hint(n_alike: int, n_held: int, name: str) -> str:
    """Return what to say after the reason of a refusal, "" where nothing is in doubt.

    Args:
        n_alike: refused photos that look alike.
        n_held: photos that the person has.
        name: of the person.
    """
    if n_alike < ENOUGH or n_alike <= n_held:
        return ""
    which = "the first photo" if n_held == 1 else f"the {n_held} photos"
    return (
        f"; {n_alike} refused photos look like one person: {which} of {name} may be of somebody "
        "else, look at it and remove it if so"
    )
