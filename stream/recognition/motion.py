"""Detects whether anything moved in a camera's view since its last full scan."""

import numpy as np
from numpy.typing import NDArray

from recognizer import Octaves

OCTAVE = 3
"""The octave that is compared: cells of 8 x 8 pixels, in which most of the noise is averaged."""

MIN_SIDE = 32
"""Cells per side at least; small frames are compared at a finer octave."""

MIN_STEP = 5.0
"""Gray levels that a cell must change: compression changes flat areas by up to 4 at keyframes."""

NOISE_STEPS = 6.0
"""The same in standard deviations of the camera's noise between two frames."""

MIN_CELLS = 3
"""Cells that must change: a face of 16 pixels covers four."""

LEARNING = 0.1
"""Weight of the newest frame in the noise: about a second in a scene without motion."""

MAX_NOISE = 3.0
"""Gray levels of a cell: a sensor's noise of 24 in each pixel. More is a moving camera."""

SPREAD_OF_MEAN = 1.25
"""Standard deviation of normal noise from the mean of its absolute values."""

SPARSE = 4
"""Every fourth cell of every fourth row suffices to measure the noise and the brightness."""


class Motion:
    """Compares each frame to the one that was scanned last, so that slow motion counts too.

    Changes of the whole picture's brightness are subtracted; what a camera's noise changes is
    learned from one frame to the next.
    """

    def __init__(self) -> None:
        self._scanned: NDArray[np.int16] | None = None
        self._last: NDArray[np.int16] | None = None
        self._noise: float | None = None

    def is_still(self, luma: Octaves) -> bool:
        """Return whether nothing moved between the last scanned frame and this one.

        Args:
            luma: of a frame.
        """
        cells = _cells(luma)
        last, self._last = self._last, cells
        if self._scanned is None or last is None or self._scanned.shape != cells.shape:
            return False
        step = np.abs(cells - last)[::SPARSE, ::SPARSE]
        # A mean without what moves; a median of gray levels would be a whole number.
        noise = SPREAD_OF_MEAN * float(np.minimum(step, 2 * np.median(step) + 1).mean())
        noise = min(noise, MAX_NOISE)
        self._noise = (
            noise if self._noise is None else self._noise + LEARNING * (noise - self._noise)
        )
        change = cells - self._scanned
        change -= np.int16(np.median(change[::SPARSE, ::SPARSE]))
        limit = max(MIN_STEP, NOISE_STEPS * self._noise)
        return int(np.count_nonzero(np.abs(change) > limit)) < MIN_CELLS

    def scanned(self, luma: Octaves) -> None:
        """Compare to this frame from now on."""
        self._scanned = self._last = _cells(luma)


def _cells(luma: Octaves) -> NDArray[np.int16]:
    height, width = luma[0].shape[:2]
    octave = OCTAVE
    while octave and min(height, width) >> octave < MIN_SIDE:
        octave -= 1
    return luma[octave].astype(np.int16)
