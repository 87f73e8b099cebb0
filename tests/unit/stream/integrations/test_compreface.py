"""CompreFace's scale of similarities, and its ids of images."""

import pytest

from stream.integrations.compreface.image_ids import image_id_of, photo_id_of
from stream.integrations.compreface.similarity import similarity_of


@pytest.mark.parametrize(
    ("cosine", "similarity"),
    [
        (0.2, 0.125),
        (0.3, 0.267),
        (0.358, 0.393),
        (0.4, 0.5),
        (0.438, 0.6),
        (0.5, 0.75),
        (0.6, 0.91),
        (0.7, 0.976),
        (0.8, 0.995),
    ],
)
def test_the_scale_is_centered_on_the_threshold(cosine: float, similarity: float):
    assert similarity_of(cosine, 0.4) == pytest.approx(similarity, abs=0.0012)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.25, 0.5, 1.0])
def test_every_threshold_is_one_half_and_more_alike_is_more(threshold: float):
    assert similarity_of(threshold, threshold) == 0.5
    values = [similarity_of(step / 50, threshold) for step in range(-50, 51)]
    assert values == sorted(values)
    assert min(values) >= 0
    assert max(values) <= 1
    # float32 gives cosines that are a little more than 1
    assert similarity_of(1.0000002, threshold) == values[-1]


@pytest.mark.parametrize("photo_id", [1, 255, 10_000_000, 2**48 - 1])
def test_image_ids_give_the_photo_back(photo_id: int):
    image_id = image_id_of(photo_id)
    assert len(image_id) == 36
    assert photo_id_of(image_id) == photo_id_of(image_id.upper()) == photo_id


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        "1",
        "nonsense",
        "00000000-0000-4000-8000-000000000000",
        "10000000-0000-4000-8000-000000000001",
        "00000000-0000-4000-8000-00000000000g",
        "00000000-0000-4000-8000-000000000001\n",
    ],
)
def test_other_ids_are_of_no_photo(image_id: str):
    assert photo_id_of(image_id) is None
