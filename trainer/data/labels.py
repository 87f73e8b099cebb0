"""Class labels of a set, checked before a run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.faceset import FaceSet
from trainer.errors import DataError

MOST_READ = 200_000  # labels of a set without identity records that are read: a second or two


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The class labels of a set.

    Attributes:
        values: (K,) float64, those that occur, ascending.
        n_read: images whose label was read: two of each identity, else all or evenly spread ones.
    """

    values: NDArray[np.float64]
    n_read: int

    def fault(self, n_classes: int) -> str:
        """Return why a classifier of so many classes cannot be trained on them, "" where it can."""
        if not len(self.values):
            return "there are no labels"
        odd = self.values[~np.isfinite(self.values) | (self.values != np.round(self.values))]
        if len(odd):
            return f"a label is {odd[0]:g}, which is no whole number"
        first, last = int(self.values[0]), int(self.values[-1])
        if first < 0:
            return f"a label is {first}: classes count from 0"
        if last >= n_classes:
            begin = ", and count from 1" if first == 1 and last == n_classes else ""
            return (
                f"labels go up to {last}{begin}, but `property` says {n_classes} classes, "
                f"of which the last is {n_classes - 1}"
            )
        return ""

    def warning(self, n_classes: int) -> str:
        """Return what is unusual about labels that can still be trained on, "" if nothing."""
        empty = n_classes - len(self.values)
        if empty <= 0:
            return ""
        return f"{empty} of {n_classes} classes have no image among the {self.n_read} looked at"


def read_labels(faces: FaceSet) -> Labels:
    """Read which labels occur: of the first and last image of each identity, else of the images.

    Records that are damaged are left out: decoding the images finds them.
    """
    if faces.has_identities:
        ends = [(group[0], group[-1]) for group in faces.groups if len(group)]
        keys = sorted({int(key) for pair in ends for key in pair})
    else:
        n = min(len(faces.keys), MOST_READ)
        keys = [int(faces.keys[i * len(faces.keys) // n]) for i in range(n)]
    first = [label for key in keys if (label := faces.label(key)) is not None]
    return Labels(np.unique(np.array(first, np.float64)), len(first))


def check_labels(faces: FaceSet, labels: Labels) -> None:
    """Refuse a set with labels that a classifier of its classes cannot learn.

    Raises:
        DataError: with what to change.
    """
    if fault := labels.fault(faces.n_classes):
        raise DataError(
            f"cannot train a classifier on {faces.path.parent}: {fault} "
            f"(`facewire-train inspect {faces.path.parent} --repair DIR` writes a right copy; "
            "--set data.relabel=true renumbers the labels for this run)"
        )


def class_of(label: float, values: NDArray[np.float64]) -> int:
    """Return the place of a label among those that occur, -1 where it does not."""
    place = int(np.searchsorted(values, label))
    return place if place < len(values) and values[place] == label else -1
