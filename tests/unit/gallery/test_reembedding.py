import numpy as np
import pytest

from gallery import Gallery, GalleryError, ModelMismatchError, NewPhoto
from gallery.reembedding import ReembedReport, reembed
from tests.unit.gallery.conftest import MODEL, SIZE


def mean_colours(crops: np.ndarray) -> np.ndarray:
    """Stand in for another model: three numbers a crop."""
    rows = crops.reshape(len(crops), -1, 3)[:, ::97].std(axis=1).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_photos_without_crops_stop_it_and_nothing_changes(few, places):
    directory = places("few")
    with pytest.raises(GalleryError, match="6 of 20 photos keep no crop"):
        reembed(directory, mean_colours, model_id="colours-1", embedding_size=3)
    Gallery.open(directory, model_id=MODEL, embedding_size=SIZE).close()


def test_a_gallery_goes_to_another_model(few, places):
    directory = places("few")
    few.facts.put({"threshold": "0.4", "threshold_far": "0.001"})
    steps = []
    report = reembed(
        directory,
        mean_colours,
        model_id="colours-1",
        embedding_size=3,
        drop_without_crop=True,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert report == ReembedReport(MODEL, "colours-1", 14, 6)
    assert steps[-1] == (14, 14)
    with pytest.raises(ModelMismatchError, match=r"colours-1, not of sface-0ba9fbfa"):
        Gallery.open(directory, model_id=MODEL, embedding_size=SIZE)
    with Gallery.open(directory, model_id="colours-1", embedding_size=3) as gallery:
        assert len(gallery) == 14
        assert gallery.facts.get("threshold") is None
        photos = [
            p for s in gallery.people.summaries() for p in gallery.photos.of(s.identity.identity_id)
        ]
        stored = [gallery.photos.crop(p.photo_id) for p in photos]
        crops = np.stack([crop for crop in stored if crop is not None])
        held = np.concatenate(
            [gallery.photos.embeddings(s.identity.identity_id) for s in gallery.people.summaries()]
        )
        np.testing.assert_array_equal(held, mean_colours(crops))
        assert {p.model_id for p in photos} == {"colours-1"}


def test_an_open_gallery_notices_that_the_model_changed(few, places):
    reembed(
        places("few"),
        mean_colours,
        model_id="colours-1",
        embedding_size=3,
        drop_without_crop=True,
    )
    with pytest.raises(ModelMismatchError, match=r"now holds embeddings of colours-1"):
        few.refresh()
    with pytest.raises(ModelMismatchError, match=r"start again with that model"):
        few.photos.add("Late", [NewPhoto(np.ones(SIZE, np.float32), None, "a" * 64, 1.0)])
    with pytest.raises(ModelMismatchError, match=r"not of sface"):
        few.photos.embeddings("Late")
    with few.store.reading() as connection:  # no photo of the old model has slipped in
        models = connection.execute("SELECT DISTINCT model_id FROM photos").fetchall()
    assert models == [("colours-1",)]


def test_an_open_gallery_in_bytes_names_nobody_by_another_models_vectors(few, places, monkeypatch):
    monkeypatch.setattr("gallery.index.FLAT_ROWS", 5)
    directory = places("few")
    with Gallery.open(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert gallery.index_kind == "int8"
        probe = gallery.photos.embeddings(gallery.people.summaries()[0].identity.name)[:1]
        assert gallery.search(probe, threshold=0.5) != [None]
        reembed(
            directory, mean_colours, model_id="colours-1", embedding_size=3, drop_without_crop=True
        )
        assert gallery.search(probe, threshold=0.5) == [None]
