"""The fake recognizer of the unit tests honours the real one's interface."""

from collections.abc import Callable

import numpy as np
import pytest

from recognizer import Recognizer, open_recognizer
from stream.demo.scene import DemoScene
from stream.frames import Frame
from tests.fakes import FakeFace, FakeRecognizer, FakeWorld
from tests.shared_data import photos

pytestmark = pytest.mark.integration

N_FACES = 2


def fake() -> tuple[FakeRecognizer, Frame, Frame]:
    world = FakeWorld()
    full = world.frame([FakeFace(1, 100), FakeFace(2, 400)], at=0.0)
    return FakeRecognizer(world), full, world.frame([], at=0.0)


def real() -> tuple[Recognizer, Frame, Frame]:
    empty = np.full((240, 320, 3), 90, np.uint8)
    full = Frame("demo", 0, 0.0, DemoScene(photos()).render(0.5))
    return open_recognizer(threads=1), full, Frame("demo", 1, 0.0, empty)


@pytest.mark.parametrize("make", [fake, real])
def test_both_answer_alike(
    make: Callable[[], tuple[FakeRecognizer | Recognizer, Frame, Frame]],
) -> None:
    recognizer, full, empty = make()
    size = recognizer.embedding_size
    assert isinstance(recognizer.model_id, str)
    assert -1 < recognizer.threshold < 1

    assert recognizer.detect([]) == []
    found, none = recognizer.detect([full.image, empty.image])
    assert (len(found), len(none)) == (N_FACES, 0)

    boxes = found.boxes.copy()
    boxes[1] = (0, 0, 60, 60)  # no face is there
    followed, nobody = recognizer.follow(
        [full.image, empty.image], [boxes, np.empty((0, 4), np.float32)]
    )
    assert followed.is_lost.tolist() == [False, True]
    np.testing.assert_allclose(followed.boxes[0], found.boxes[0], atol=15)
    np.testing.assert_array_equal(followed.boxes[1], boxes[1])
    assert followed.scores[0] > followed.scores[1]
    assert len(nobody.scores) == 0

    crops = recognizer.align(full.image, found.landmarks)
    assert (crops.shape, crops.dtype) == ((N_FACES, 112, 112, 3), np.uint8)
    nothing = recognizer.align(full.image, found.landmarks[:0])
    assert nothing.shape == (0, 112, 112, 3)

    embeddings = recognizer.embed(crops)
    assert (embeddings.shape, embeddings.dtype) == ((N_FACES, size), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-4)
    assert embeddings[0] @ embeddings[1] < recognizer.threshold
    assert recognizer.embed(nothing).shape == (0, size)

    qualities = recognizer.quality(full.image, found)
    assert [0 <= quality.overall <= 1 for quality in qualities] == [True] * N_FACES
    assert recognizer.quality(full.image, none) == []
    judged_crops, judged = recognizer.align_and_judge(full.image, found)
    np.testing.assert_array_equal(judged_crops, crops)
    assert judged == qualities
