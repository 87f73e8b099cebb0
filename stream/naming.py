"""From which similarity on faces are named: by model card, gallery, and number of people."""

import logging

from gallery import Gallery, GalleryError
from gallery.calibration import kept_similarities
from recognizer import Recognizer, SimilarityLimits
from recognizer.card import similarities_from
from recognizer.similarities import derive

logger = logging.getLogger(__name__)


def limits_for(recognizer: Recognizer, gallery: Gallery) -> SimilarityLimits:
    """Return the working numbers of a recognizer's model in a gallery.

    They follow from the model card. Where that does not say how similar different people are, they
    follow from what `gallery calibrate --apply` measured on the gallery's own people; else they are
    cautious ones, which is logged.

    Raises:
        GalleryError: if the calibration in the gallery is damaged.
    """
    if recognizer.limits.is_measured:
        return recognizer.limits
    try:
        kept = kept_similarities(gallery)
        if kept is not None:
            return derive(similarities_from(kept))
    except ValueError as error:
        raise GalleryError(
            f"the calibration in {gallery.store.path} is damaged ({error}): "
            "run `facewire gallery calibrate --apply` again"
        ) from error
    logger.warning("%s", unmeasured(recognizer.model_id, recognizer.limits))
    return recognizer.limits


def threshold_for(recognizer: Recognizer, gallery: Gallery) -> float:
    """Return the similarity from which a face is a match; see `Gallery.threshold_for`."""
    limits = limits_for(recognizer, gallery)
    return gallery.threshold_for(limits.pair, limits)


def unmeasured(model: str, limits: SimilarityLimits) -> str:
    """Return the line about a model whose similarities nobody measured."""
    return (
        f"the similarities of {model} are not measured: names are given from {limits.pair:.2f} on, "
        "and fewer than the model could (measure it by `facewire models add` with --images, or by "
        "`facewire gallery calibrate --apply` once people are enrolled)"
    )
