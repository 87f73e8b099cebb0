"""Triplets: losses on embeddings, and the choice of semi-hard ones from a bag of images.

Source: FaceNet (Schroff et al. 2015), equations 1 and 4; the angular form is the reference's.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.heads.classification import COS_EPS, Outcome, unit

ALPHA = 0.3  # of squared distance
ALPHA_ANGLE = 0.35  # radians


class TripletLoss(nn.Module):
    """Pushes negatives further than positives; a batch is thirds: anchors, positives, negatives.

    Args:
        angular: compare angles instead of squared distances.
        alpha: the margin.
    """

    def __init__(self, *, angular: bool, alpha: float) -> None:
        super().__init__()
        self.angular, self.alpha = angular, alpha

    def forward(self, embeddings: Tensor, labels: Tensor) -> Outcome:
        """Return the mean loss, and the share of triplets in the right order.

        Raises:
            ValueError: if the batch cannot be split in three.
        """
        if len(embeddings) % 3:
            raise ValueError(f"a batch of triplets must be a multiple of 3, got {len(embeddings)}")
        anchor, positive, negative = unit(embeddings.float()).chunk(3)
        if self.angular:
            near, far = _angle(anchor, positive), _angle(anchor, negative)
        else:
            near = (anchor - positive).square().sum(dim=1)
            far = (anchor - negative).square().sum(dim=1)
        loss = torch.relu(near - far + self.alpha).mean()
        return Outcome(loss, (near < far).float().mean())


def _angle(a: Tensor, b: Tensor) -> Tensor:
    return torch.arccos((a * b).sum(dim=1).clamp(-1 + COS_EPS, 1 - COS_EPS))


def pick_triplets(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    alpha: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Choose semi-hard triplets: negatives further than the positive, but by less than alpha.

    Args:
        embeddings: (N, D) unit vectors.
        labels: (N,); equal adjacent labels are one person.
        alpha: the margin, of squared distance.
        rng: chooses among the candidates and shuffles.

    Returns:
        (T, 3) indices of anchor, positive, negative; T may be 0.
    """
    found = []
    edges = np.flatnonzero(np.diff(labels)) + 1
    for members in np.split(np.arange(len(labels)), edges):
        if not len(members):
            continue
        near = embeddings[members]
        distances = np.maximum(2 - 2 * near @ embeddings.T, 0)
        others = distances.copy()
        others[:, members] = np.nan
        for i, anchor in enumerate(members[:-1]):
            for positive in members[i + 1 :]:
                gap = others[i] - distances[i, positive]
                candidates = np.flatnonzero((gap < alpha) & (gap > 0))
                if len(candidates):
                    found.append((anchor, positive, rng.choice(candidates)))
    triplets = np.array(found, np.int64).reshape(-1, 3)
    return triplets[rng.permutation(len(triplets))]
