"""Cosines as CompreFace's similarities, in [0, 1], where 0.5 is the decision.

CompreFace maps the distance of two unit vectors to a similarity by a hyperbolic tangent, with two
numbers of each of its networks (exadel-inc/CompreFace, EuclideanDistanceClassifier.java and
embedding-calculator/src/services/facescan/plugins/base.py). Its clients compare the result with
thresholds of their own. Here the center is the threshold of a match, so that such thresholds keep
their meaning, and the slope lies between those of its facenet and mobilefacenet.
"""

import math

SLOPE = 5.75
DECIMALS = 5


def similarity_of(cosine: float, threshold: float) -> float:
    """Return the similarity of two faces in CompreFace's scale.

    Args:
        cosine: of the two embeddings, in [-1, 1].
        threshold: cosine from which they count as one person; becomes 0.5.

    Returns:
        In [0, 1], of five decimals.
    """
    distance, center = (math.sqrt(max(0.0, 2 - 2 * each)) for each in (cosine, threshold))
    return round((math.tanh((center - distance) * SLOPE) + 1) / 2, DECIMALS)
