"""Decides the identity of a track from several embeddings; no name rather than a wrong one.

Every embedding has a weight. Each is searched by itself (a vote), and all are pooled into one,
which is much more stable. A name needs both: the pooled embedding matches it, and enough votes
agree. It is kept until the embeddings clearly contradict it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gallery import Match
from recognizer import Floats, SimilarityLimits
from stream.frames import CLEAR_QUALITY, TrackState

MAX_LOOKS = 8
"""Embeddings kept: the newest, so that a track that moved to another face is noticed."""

GOOD_WEIGHT = 0.25
"""Weight from which an embedding counts in full: a frontal face of 50 pixels or a half-turned
large one. Below it an embedding never decides alone and is no evidence of a stranger."""

STRANGER_LOOKS = 3
"""Good embeddings after which a person is unknown rather than undecided."""

PATIENT_LOOKS = 6
"""Embeddings of any weight after which a person is unknown, near the threshold or not."""

PATIENT_S = 0.5
"""Seconds from the first to the last of STRANGER_LOOKS embeddings, one of them clear, after which a
person like nobody is unknown: at few frames a second they differ as much as more in a moment do."""


@dataclass(slots=True, eq=False)
class Look:
    """One embedding of a track.

    Attributes:
        embedding: (D,) float32 of unit length.
        weight: quality of the crop, in (0, 1].
        at: seconds.
        candidates: the two most similar identities, best first; None until searched.
    """

    embedding: Floats
    weight: float
    at: float
    candidates: Sequence[Match] | None = None


class Voter:
    """Decides the identity of one track.

    Args:
        threshold: similarity from which an embedding is a match.
        margin: how much more similar than the second identity the best must be.
        limits: of the model: what one embedding may decide, and what keeps or refutes a name.
    """

    def __init__(self, *, threshold: float, margin: float, limits: SimilarityLimits) -> None:
        self.state = TrackState.UNDECIDED
        self.match: Match | None = None
        self.threshold = threshold
        self._margin = margin
        self._limits = limits
        self._looks: list[Look] = []

    @property
    def n_looks(self) -> int:
        """Number of embeddings kept."""
        return len(self._looks)

    @property
    def template(self) -> Floats | None:
        """All embeddings pooled by weight, (D,) float32 of unit length; None before the first."""
        if not self._looks:
            return None
        return _pooled(self._looks)

    def look(self, embedding: Floats, weight: float, at: float = 0.0) -> bool:
        """Add an embedding; call `probes` and `decide` afterwards.

        Args:
            embedding: (D,) float32 of unit length.
            weight: quality of the crop, in [0, 1].
            at: seconds.

        Returns:
            Whether the track now shows another face, so that all embeddings before the last two
            were dropped.
        """
        self._looks.append(Look(embedding, max(weight, 0.01), at))
        del self._looks[:-MAX_LOOKS]
        return self._drop_contradicted()

    def assign(self, match: Match) -> None:
        """Assign an identity that a user chose; it is kept like a voted one."""
        self.state, self.match = TrackState.KNOWN, match

    def forget_candidates(self) -> None:
        """Search every embedding again, because the gallery changed."""
        for look in self._looks:
            look.candidates = None

    def probes(self) -> Floats:
        """Return the (P, D) embeddings to search for `decide`: new ones, then the pooled one."""
        template = self.template
        if template is None:
            return np.empty((0, 0), np.float32)
        new = [look.embedding for look in self._looks if look.candidates is None]
        return np.stack([*new, template])

    def decide(self, found: Sequence[Sequence[Match]], *, is_whole: bool = True) -> None:
        """Decide again.

        Args:
            found: for each of `probes`, the two most similar identities, best first.
            is_whole: whether all people were searched. If not, somebody among those who were may
                be named, but nobody becomes a stranger or loses a name, and all embeddings are
                searched again.
        """
        waiting = [look for look in self._looks if look.candidates is None]
        if len(found) != len(waiting) + 1:
            raise ValueError(f"expected {len(waiting) + 1} answers, got {len(found)}")
        for look, candidates in zip(waiting, found, strict=False):
            look.candidates = candidates
        pooled = found[-1]
        accepted = self._accepted(pooled, self.threshold)
        is_accepted = accepted is not None and self._has_votes(accepted)
        if not is_whole:
            self.forget_candidates()
            if self.state is TrackState.KNOWN or not is_accepted:
                return
        if is_accepted:
            self.state, self.match = TrackState.KNOWN, accepted
            return
        kept = self._kept(pooled)
        if kept is not None:
            self.match = kept
        elif self._is_stranger(pooled):
            self.state, self.match = TrackState.UNKNOWN, None
        elif self.state is TrackState.KNOWN:
            self.state, self.match = TrackState.UNDECIDED, None

    def _accepted(self, candidates: Sequence[Match], threshold: float) -> Match | None:
        if not candidates or candidates[0].similarity < threshold:
            return None
        if len(candidates) > 1:
            lead = candidates[0].similarity - candidates[1].similarity
            if lead < self._margin:
                return None
        return candidates[0]

    def _has_votes(self, accepted: Match) -> bool:
        """Return whether enough votes agree with the match of the pooled embedding."""
        name = accepted.identity.identity_id
        votes = [self._accepted(look.candidates or (), self.threshold) for look in self._looks]
        for_it = [
            (vote.similarity, look.weight)
            for vote, look in zip(votes, self._looks, strict=True)
            if vote is not None and vote.identity.identity_id == name
        ]
        against = [vote for vote in votes if vote is not None and vote.identity.identity_id != name]
        is_renamed = self.match is not None and self.match.identity.identity_id != name
        needed = 1 if any(self._is_sure(*vote) for vote in for_it) and not is_renamed else 2
        return len(for_it) >= max(needed, 2 * len(against))

    def _is_sure(self, similarity: float, weight: float) -> bool:
        return weight >= GOOD_WEIGHT and similarity >= self.threshold + self._limits.sure_lead

    @property
    def _kept_from(self) -> float:
        return self.threshold - self._limits.hysteresis

    def _kept(self, pooled: Sequence[Match]) -> Match | None:
        """Return the present match at its new similarity if the pooled embedding supports it."""
        if self.match is None or not pooled:
            return None
        best = pooled[0]
        is_same = best.identity.identity_id == self.match.identity.identity_id
        return best if is_same and best.similarity >= self._kept_from else None

    def _is_stranger(self, pooled: Sequence[Match]) -> bool:
        good = sum(look.weight >= GOOD_WEIGHT for look in self._looks)
        similarity = pooled[0].similarity if pooled else -1.0
        # Known before and not now (renamed, erased): all embeddings are there already.
        if similarity < self._kept_from:
            if good >= STRANGER_LOOKS or self.n_looks >= PATIENT_LOOKS:
                return True
            seconds = self._looks[-1].at - self._looks[0].at
            is_clear = max(look.weight for look in self._looks) >= CLEAR_QUALITY
            return self.n_looks >= STRANGER_LOOKS and seconds >= PATIENT_S and is_clear
        return self.n_looks >= PATIENT_LOOKS

    def _drop_contradicted(self) -> bool:
        """Keep only the last two embeddings where they show another face than all before."""
        if len(self._looks) < 3:
            return False
        *before, one, two = self._looks
        pooled = _pooled(before)
        limit = self._limits.contradiction
        is_other = [
            look.weight >= GOOD_WEIGHT and float(look.embedding @ pooled) < limit
            for look in (one, two)
        ]
        if all(is_other) and float(one.embedding @ two.embedding) >= limit:
            self._looks = [one, two]
            self.state, self.match = TrackState.UNDECIDED, None
            return True
        return False


def _pooled(looks: Sequence[Look]) -> Floats:
    rows = np.stack([look.embedding for look in looks])
    weights = np.array([look.weight for look in looks], np.float32)
    pooled = weights @ rows
    return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-9), np.float32)
