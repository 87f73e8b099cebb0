"""What a viewer's link carries, and which rendition suits it. Pure, time is an argument."""

from collections.abc import Sequence

# Losses above the first shrink the estimate, below the second it grows, in between retransmission
# copes: the loss-based controller of draft-ietf-rmcat-gcc-02 section 6, once a receiver report.
HEAVY_LOSS, LIGHT_LOSS = 0.10, 0.02
GROWTH = 1.08

# A queue that overflowed says only that the link is much too slow.
OVERFLOW_LOSS = 0.5

# The small rendition's part of the full one's bits: it has a quarter of the pixels.
SMALL_SHARE = 0.25

# Below that the small rendition turns grey, so nothing is gained.
MIN_SHARE = 0.1

# Apart from one another, so that a viewer in between stays where it is.
DOWN_BELOW_SHARE, UP_FROM_SHARE = 0.5, 0.9

# Seconds on the small rendition before the full one is tried again; twice as long after every
# try that failed within the trial.
FIRST_HOLD_S, LONGEST_HOLD_S, TRIAL_S = 8.0, 120.0, 30.0


class Link:
    """One viewer's link, as its receiver reports tell.

    Attributes:
        share: what part of the full rendition's bits it carries, in [MIN_SHARE, 1].
        is_small: whether the small rendition suits it.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self.is_small = False
        self._hold_s = FIRST_HOLD_S
        self._changed_at = float("-inf")

    def report(self, lost: float, now: float) -> None:
        """Take in what was lost since the last report.

        Args:
            lost: part of the packets sent, in [0, 1].
            now: seconds, monotonic clock.
        """
        if lost > HEAVY_LOSS:
            self.share = max(MIN_SHARE, self.share * (1 - 0.5 * lost))
        elif lost < LIGHT_LOSS:
            self.share = min(1.0, self.share * GROWTH)
        waited_s = now - self._changed_at
        if not self.is_small and self.share < DOWN_BELOW_SHARE:
            has_failed = waited_s < TRIAL_S
            self._hold_s = min(LONGEST_HOLD_S, self._hold_s * 2) if has_failed else FIRST_HOLD_S
            self.is_small, self._changed_at = True, now
        elif self.is_small and self.share >= UP_FROM_SHARE and waited_s >= self._hold_s:
            self.is_small, self._changed_at = False, now


def shared_part(shares: Sequence[float], *, small: bool) -> float:
    """Return what part of a rendition's usual bits suits all of its viewers.

    The upper median of them: losses that most have make the video smaller for all, but one bad
    link does not take the others' picture quality; it goes to the small rendition alone.

    Args:
        shares: `Link.share` of each viewer of the rendition; may be empty.
        small: whether it is the small rendition.

    Returns:
        In [MIN_SHARE, 1]; 1 without viewers.
    """
    if not shares:
        return 1.0
    middle = sorted(shares)[len(shares) // 2]
    return min(1.0, middle / SMALL_SHARE) if small else middle
