"""From which similarity on faces are named: by model card, gallery, and number of people."""

import logging
from dataclasses import replace
from functools import cache

from gallery import Gallery, GalleryError
from gallery.calibration import kept_similarities, some_photos
from recognizer import Recognizer, SimilarityLimits
from recognizer.card import similarities_from
from recognizer.similarities import (
    MIN_IMPOSTORS,
    derive,
    measured,
    measured_on_people,
    more_cautious,
)

logger = logging.getLogger(__name__)


def limits_for(recognizer: Recognizer, gallery: Gallery) -> SimilarityLimits:
    """Return the working numbers of a recognizer's model in a gallery.

    They follow from the model card. Where that does not say how similar different people are, they
    follow from what `gallery calibrate --apply` measured on the gallery's own people. Where nobody
    calibrated either, they are cautious ones, or those of the people who are enrolled so far if
    these are more cautious still; a model that tells people apart too poorly for them names nobody.

    Raises:
        GalleryError: if the calibration in the gallery is damaged, or it cannot be read.
    """
    if recognizer.limits.is_measured:
        return recognizer.limits
    try:
        kept = kept_similarities(gallery)
        if kept is not None:
            return derive(similarities_from(kept))
    except ValueError as error:
        raise GalleryError(
            f"the calibration in {gallery.file.path} is damaged ({error}): "
            "run `facewire gallery calibrate --apply` again"
        ) from error
    _warn(recognizer.model_id)
    genuine, impostor = measured_on_people(*some_photos(gallery))
    if len(impostor) < MIN_IMPOSTORS:
        return recognizer.limits
    found = derive(measured(genuine, impostor))
    return replace(more_cautious(found, recognizer.limits), is_measured=False)


def threshold_for(recognizer: Recognizer, gallery: Gallery) -> float:
    """Return the similarity from which a face is a match; see `Gallery.threshold_for`."""
    limits = limits_for(recognizer, gallery)
    return gallery.threshold_for(limits.pair, limits)


def unmeasured(model: str) -> str:
    """Return the line about a model whose similarities nobody measured."""
    return (
        f"how similar people are to {model} is not measured, so it names fewer than it could: "
        "measure it by `facewire models add` with --images and --replace, or by "
        "`facewire gallery calibrate --apply` once people are enrolled"
    )


@cache
def _warn(model: str) -> None:
    logger.warning("%s", unmeasured(model))
