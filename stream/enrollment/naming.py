"""Match thresholds, derived from the model card, the gallery and the number of people."""

import logging
from dataclasses import replace
from functools import cache

from gallery import Gallery, GalleryError
from gallery.calibration import kept_similarities, some_photos
from gallery.hygiene import HygieneLimits
from recognizer import Recognizer, SimilarityLimits
from recognizer.card import card_from, similarities_from
from recognizer.models.manifest import read_manifest
from recognizer.similarities import (
    CAUTIOUS,
    MIN_IMPOSTORS,
    derive,
    measured,
    measured_on_people,
    more_cautious,
)

logger = logging.getLogger(__name__)


def limits_for(recognizer: Recognizer, gallery: Gallery) -> SimilarityLimits:
    """Return the working numbers of a recognizer's model in a gallery.

    They follow from the model card. If that does not state the similarities of different people,
    they follow from what `gallery calibrate --apply` measured on the gallery's own people. Without
    a calibration they are cautious defaults, or those of the people enrolled so far if these are
    more cautious. A model that distinguishes people too poorly for them names nobody.

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
            f"the calibration in {gallery.store.place} is damaged ({error}): "
            "run `facewire gallery calibrate --apply` again"
        ) from error
    _warn(recognizer.model_id)
    genuine, impostor = measured_on_people(*some_photos(gallery))
    if len(impostor) < MIN_IMPOSTORS:
        return recognizer.limits
    found = derive(measured(genuine, impostor))
    return replace(more_cautious(found, recognizer.limits), is_measured=False)


def limits_of(gallery: Gallery) -> SimilarityLimits:
    """Return the working numbers in a gallery of its model, without opening the model.

    Those of a shipped model are in the manifest. For others a calibration of the gallery is used,
    else cautious defaults.

    Raises:
        GalleryError: if the calibration in the gallery is damaged, or it cannot be read.
    """
    for name, entry in read_manifest().items():
        if gallery.model_id.startswith(f"{name}-") and entry.card:
            return card_from({"source": "", "licence": "", **entry.card}, name=name).limits
    try:
        kept = kept_similarities(gallery)
        return derive(CAUTIOUS if kept is None else similarities_from(kept))
    except ValueError as error:
        raise GalleryError(
            f"the calibration in {gallery.store.place} is damaged ({error}): "
            "run `facewire gallery calibrate --apply` again"
        ) from error


def hygiene_limits(limits: SimilarityLimits, n_people: int) -> HygieneLimits:
    """Return the levels at which a gallery's photos and people are listed for a look."""
    return HygieneLimits(limits.min_own, limits.other_among(n_people), limits.most_similar)


def threshold_for(recognizer: Recognizer, gallery: Gallery) -> float:
    """Return the minimum similarity of a match; see `Gallery.threshold_for`."""
    limits = limits_for(recognizer, gallery)
    return gallery.threshold_for(limits.pair, limits)


def unmeasured(model: str) -> str:
    """Return the message about a model without measured similarities."""
    return (
        f"how similar people are to {model} is not measured, so it names fewer than it could: "
        "measure it by `facewire models add` with --images and --replace, or by "
        "`facewire gallery calibrate --apply` once people are enrolled"
    )


class Matching:
    """Threshold and margin of a match: configured, calibrated, or by the number of people.

    Args:
        recognizer: of the gallery's model.
        gallery: read when this is made and by `threshold_now`.
        threshold: configured, cosine; None for the gallery's.
        margin: configured, cosine; None for the model's.

    Attributes:
        limits: working numbers of the model in this gallery.
        margin: minimum lead of a match over the next person, cosine.
        threshold: minimum similarity of a match, cosine, as of the last change of people.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        gallery: Gallery,
        *,
        threshold: float | None,
        margin: float | None,
    ) -> None:
        self._recognizer = recognizer
        self._gallery = gallery
        self._configured = threshold
        self.limits = limits_for(recognizer, gallery)
        self.margin = self.limits.margin if margin is None else margin
        self.threshold = self.threshold_now()

    def threshold_now(self) -> float:
        """Return the threshold for the present people; reads the gallery's file.

        Raises:
            GalleryError: if the file cannot be read.
        """
        if self._configured is not None:
            return self._configured
        return threshold_for(self._recognizer, self._gallery)


@cache
def _warn(model: str) -> None:
    logger.warning("%s", unmeasured(model))
