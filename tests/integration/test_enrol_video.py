import numpy as np
import pytest

from gallery import Gallery
from recognizer import open_recognizer, read_image
from stream.cameras.conversion import Captured
from stream.cameras.source import Source
from stream.cli.video_shots import best_shots, frames_of
from stream.enrollment.enrollment import enroll_images
from stream.errors import EnrolmentError, SourceEnded
from stream.frames import Pixels
from tests.shared_data import photos

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def recognizer():
    return open_recognizer()


class Film(Source):
    """Photos played as a source."""

    fps, size, damaged, is_live = 4.0, (0, 0), 0, False

    def __init__(self, names: list[str | None]) -> None:
        self._frames = [
            Captured(
                seq / 4,
                Pixels(read_image(photos() / name) if name else np.zeros((240, 320, 3), np.uint8)),
            )
            for seq, name in enumerate(names)
        ]

    def read(self) -> Captured:
        if not self._frames:
            raise SourceEnded("the film is over")
        return self._frames.pop(0)

    def set_target_fps(self, target_fps: float | None) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._frames.clear()


def test_the_different_looks_at_one_person_are_taken(recognizer, tmp_path):
    film = Film([None, "obama.jpg", "obama.jpg", "obama2.jpg", None, "obama3.jpg", "obama2.jpg"])
    items = best_shots(recognizer, frames_of(film, "door"), "Barack Obama")
    assert len(items) == 3  # the two seen twice count once
    assert sorted(int(item.label.rsplit(" ", 1)[1]) for item in items) == [1, 3, 5]
    with Gallery.open(
        tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        report = enroll_images(recognizer, gallery, items)
        assert len(report.enrolled) == 3
        again = best_shots(recognizer, frames_of(Film(["obama.jpg"]), "door"), "Barack Obama")
        assert not enroll_images(recognizer, gallery, again).enrolled


def test_no_more_shots_than_asked_for(recognizer):
    film = Film(["obama.jpg", "obama2.jpg", "obama3.jpg"])
    assert len(best_shots(recognizer, frames_of(film, "door"), "Barack Obama", n_shots=2)) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no frame is good enough"),
        ([None, None], "no frame is good enough"),
        (["obama.jpg", "obama2.jpg", "biden.jpg"], "several people are in view"),
    ],
)
def test_a_film_of_nobody_or_of_several_is_refused(recognizer, names, message):
    with pytest.raises(EnrolmentError, match=message):
        best_shots(recognizer, frames_of(Film(names), "door"), "Barack Obama")
