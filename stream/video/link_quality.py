"""Estimates the capacity of a viewer's link and selects its rendition; time is an argument."""

from collections.abc import Sequence

# Losses above the first shrink the estimate, below the second it grows, in between retransmission
# is enough: the loss-based controller of draft-ietf-rmcat-gcc-02 section 6, per receiver report.
HEAVY_LOSS, LIGHT_LOSS = 0.10, 0.02
GROWTH = 1.08

# A queue that overflowed shows only that the link is much too slow.
OVERFLOW_LOSS = 0.5

# The small rendition's share of the full one's bits: it has a quarter of the pixels.
SMALL_SHARE = 0.25

# Below this the small rendition turns gray, so a lower rate is useless.
MIN_SHARE = 0.1

# Different, so that a viewer in between keeps its rendition.
DOWN_BELOW_SHARE, UP_FROM_SHARE = 0.5, 0.9

# Seconds on the small rendition before the full one is tried again; twice as long after every
# try that failed within the trial.
FIRST_HOLD_S, LONGEST_HOLD_S, TRIAL_S = 8.0, 120.0, 30.0


class Link:
    """One viewer's link, estimated from its receiver reports.

    Attributes:
        share: the fraction of the full rendition's bits that it carries, in [MIN_SHARE, 1].
        is_small: whether to send the small rendition.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self.is_small = False
        self._hold_s = FIRST_HOLD_S
        self._changed_at = float("-inf")

    def report(self, lost: float, now: float) -> None:
        """Update from the losses since the last report.

        Args:
            lost: fraction of the packets sent, in [0, 1].
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
    """Return the fraction of a rendition's usual bits to send to all of its viewers.

    The upper median of them: losses on most links reduce the bitrate for all, but one bad link
    does not reduce the others' quality; only it changes to the small rendition.

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
