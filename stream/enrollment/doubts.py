"""Detects that a person's first photo is wrong, rather than all later ones.

Later photos must be similar to a person's first photo. If that shows another person, every correct
photo is refused. Several refused photos that are similar to each other indicate this.
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
    """Stores refused faces by person, in memory only and for some minutes.

    Any thread may call.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: OrderedDict[str, list[tuple[float, Floats]]] = OrderedDict()

    def refuse(self, identity_id: str, embeddings: Sequence[Floats], *, least: float) -> int:
        """Store faces that were refused because they are not similar to a person.

        Args:
            identity_id: of the person.
            embeddings: (D,) float32 of unit length each.
            least: minimum cosine of two faces that may be the same person.

        Returns:
            The number of faces refused for this person that are similar to each other: one of
            them and all those similar to it.
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
        """Drop the refused faces of a person."""
        with self._lock:
            self._refused.pop(identity_id, None)


def hint(n_alike: int, n_held: int, name: str) -> str:
    """Return the hint to append to the reason of a refusal, "" if there is no doubt.

    Args:
        n_alike: refused photos that are similar to each other.
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
