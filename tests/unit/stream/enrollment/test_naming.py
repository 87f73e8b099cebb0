"""Names are given by what is known of the model: its card, a calibration, or the people at hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gallery import Gallery, GalleryError, NewPhoto
from gallery.calibration import MEASURED, calibrate, choose
from recognizer.card import ModelCard, card_from
from recognizer.models.manifest import read_manifest
from recognizer.similarities import measured
from stream.enrollment.naming import limits_for, threshold_for

SIZE = 32
CARD = card_from({"source": "", "licence": "", **read_manifest()["sface"].card}, name="sface")
OLD = replace(CARD, similarities=None, threshold=0.38, far=0.0)
"""What `models add` wrote before it measured anything."""


def recognizer_of(card: ModelCard) -> Any:
    return SimpleNamespace(model_id="m", limits=card.limits, threshold=card.limits.pair)


@pytest.fixture
def empty(tmp_path: Path):
    with Gallery.open(tmp_path, model_id="m", embedding_size=SIZE) as gallery:
        yield gallery


def fill(gallery: Gallery, *, n_people: int, shared: float, noise: float) -> None:
    """Enroll three photos of each; `shared` is what all faces have in common with this model."""
    rng = np.random.default_rng(1)
    common = rng.normal(size=SIZE)
    for person in range(n_people):
        own = rng.normal(size=SIZE)
        photos = []
        for i in range(3):
            row = shared * common + own + noise * rng.normal(size=SIZE)
            row = (row / np.linalg.norm(row)).astype(np.float32)
            photos.append(NewPhoto(row.astype(np.float32), None, f"{person * 3 + i:064x}", 0.5))
        gallery.photos.add(f"Person {person}", photos)


def test_a_measured_card_decides_alone(empty: Gallery) -> None:
    fill(empty, n_people=12, shared=3.0, noise=0.3)
    assert limits_for(recognizer_of(CARD), empty) == CARD.limits
    assert threshold_for(recognizer_of(CARD), empty) == empty.threshold_for(0.358)


def test_without_people_an_unmeasured_model_is_taken_cautiously(empty: Gallery, caplog) -> None:
    limits_for.__globals__["_warn"].cache_clear()
    assert limits_for(recognizer_of(OLD), empty) == OLD.limits
    assert threshold_for(recognizer_of(OLD), empty) > 0.45
    assert (
        caplog.text.count("models add` with --images and --replace") == 1
    )  # once, not at every call


def test_an_unmeasured_model_to_which_all_people_are_similar_names_nobody(empty: Gallery) -> None:
    """A card that states 0.38, and a network whose strangers are 0.9 similar."""
    fill(empty, n_people=12, shared=3.0, noise=0.3)
    threshold = threshold_for(recognizer_of(OLD), empty)
    rng = np.random.default_rng(2)
    strangers = rng.normal(size=(200, SIZE)) + 3.0 * np.random.default_rng(1).normal(size=SIZE)
    probes = strangers.astype(np.float32)
    assert [m for m in empty.search(probes, threshold=0.38) if m]
    assert [m for m in empty.search(probes, threshold=threshold) if m] == []


def test_a_good_unmeasured_model_is_not_trusted_more_for_a_few_people(empty: Gallery) -> None:
    fill(empty, n_people=12, shared=0.0, noise=0.3)
    assert limits_for(recognizer_of(OLD), empty).pair >= OLD.limits.pair


def test_a_calibration_tells_what_the_card_does_not(empty: Gallery) -> None:
    fill(empty, n_people=30, shared=1.0, noise=0.3)
    result = calibrate(empty, far=0.01)
    found = measured(result.genuine, result.impostor)
    choose(empty, result, similarities=asdict(found))
    limits = limits_for(recognizer_of(OLD), empty)
    assert limits.is_measured
    assert limits.pair == pytest.approx(found.reached(1e-3), abs=1e-3)
    assert threshold_for(recognizer_of(OLD), empty) == result.threshold
    assert limits_for(recognizer_of(CARD), empty) == CARD.limits


@pytest.mark.parametrize("kept", ["{", "[]", "{}", json.dumps({"impostors": 5, "x": 1})])
def test_a_damaged_calibration_says_what_to_do(empty: Gallery, kept: str) -> None:
    empty.facts.put({MEASURED: kept})
    with pytest.raises(GalleryError, match="run `facewire gallery calibrate --apply` again"):
        limits_for(recognizer_of(OLD), empty)
