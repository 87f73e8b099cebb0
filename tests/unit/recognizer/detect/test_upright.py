import numpy as np
import pytest

from recognizer.detect.upright import detect_any_way_up, misfits
from recognizer.faces import Detections
from recognizer.geometry.alignment import TEMPLATE, align

SIZE = (300, 200)
LANDMARKS = TEMPLATE + np.array([40, 90], np.float32)
BOX = np.array([60, 100, 130, 200], np.float32)


def nothing() -> Detections:
    return Detections(
        np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
    )


def one(score: float, landmarks: np.ndarray = LANDMARKS) -> Detections:
    return Detections(BOX[None].copy(), landmarks[None].copy(), np.array([score], np.float32))


class Scene:
    """A photo whose pixels encode their position, and a detector that scores each orientation."""

    def __init__(self, scores: dict[int, float], *, mirrored: dict[int, float] | None = None):
        upright = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        self.upright = upright
        self.scores = {0: scores, 1: scores if mirrored is None else mirrored}
        self.n_detected = 0

    def detect(self, images):
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> Detections:
        self.n_detected += 1
        for mirrored in (0, 1):
            source = image[:, ::-1] if mirrored else image
            for turns in range(4):
                if np.array_equal(np.rot90(self.upright, turns), source):
                    score = self.scores[mirrored].get(turns, 0)
                    return one(score) if score else nothing()
        return nothing()  # turned by another angle


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_photo_gives_the_same_crop_as_the_upright_one(turns: int) -> None:
    scene = Scene({0: 0.999})
    photo = np.ascontiguousarray(np.rot90(scene.upright, turns))
    (found,) = detect_any_way_up(scene.detect, [photo])
    assert len(found) == 1
    crops = align(photo, found.landmarks)
    np.testing.assert_array_equal(crops, align(scene.upright, LANDMARKS[None]))
    x1, y1, x2, y2 = found.boxes[0]
    assert 0 <= x1 < x2 < photo.shape[1]
    assert 0 <= y1 < y2 < photo.shape[0]
    middle = found.landmarks[0].mean(axis=0)
    assert (found.boxes[0, :2] < middle).all()
    assert (middle < found.boxes[0, 2:]).all()


def test_no_photos_and_photos_of_nobody() -> None:
    scene = Scene({})
    assert detect_any_way_up(scene.detect, []) == []
    (found,) = detect_any_way_up(scene.detect, [scene.upright])
    assert len(found) == 0


def test_a_photo_that_is_surely_upright_is_searched_by_quarter_turns_alone() -> None:
    scene = Scene({0: 0.9995, 1: 0.8})
    (found,) = detect_any_way_up(scene.detect, [scene.upright])
    assert scene.n_detected == 4
    np.testing.assert_array_equal(found.landmarks[0], LANDMARKS)


class Beside:
    """A photo of a sure upright face, and of one that stands on the photo's right side."""

    def __init__(self, score: float, *, mirrored: float | None = None, apart: float = 0.0) -> None:
        self.photo = np.zeros((300, 600, 3), np.uint8)
        self.photo[:, 300:] = 200
        self._lying = one(score)
        boxes = BOX[[2, 1, 0, 3]] * [-1, 1, -1, 1] + [299, 0, 299, 0]
        landmarks = LANDMARKS[[1, 0, 2, 4, 3]] * [-1, 1] + [299 + apart, 0]
        self._mirrored = Detections(
            boxes[None].astype(np.float32),
            landmarks[None].astype(np.float32),
            np.array([score if mirrored is None else mirrored], np.float32),
        )
        self._n_turned = 0

    def detect(self, images):
        return [self._detect(image) for image in images]

    def _detect(self, image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        if not image[0].max():  # the dark half is above
            return nothing()
        if width > height:
            return nothing() if image[0, 0, 0] else one(0.9999)
        self._n_turned += 1
        return self._lying if self._n_turned % 2 else self._mirrored


def test_a_face_that_lies_beside_an_upright_one_is_found() -> None:
    scene = Beside(0.99)
    (found,) = detect_any_way_up(scene.detect, [scene.photo])
    np.testing.assert_allclose(found.scores, [0.9999, 0.99])
    np.testing.assert_array_equal(found.landmarks[0], LANDMARKS)
    x, y = LANDMARKS.T  # turned back clockwise: what was above is on the right
    np.testing.assert_allclose(found.landmarks[1], np.stack([599 - y, x], axis=1), atol=1e-3)


@pytest.mark.parametrize(
    "scene", [Beside(0.95), Beside(0.99, mirrored=0.6), Beside(0.99, apart=9.0)]
)
def test_a_face_beside_an_upright_one_must_be_certain(scene: Beside) -> None:
    (found,) = detect_any_way_up(scene.detect, [scene.photo])
    assert len(found) == 1


def test_landmarks_need_not_agree_where_the_score_is_sure() -> None:
    scene = Beside(0.998, apart=9.0)
    assert len(detect_any_way_up(scene.detect, [scene.photo])[0]) == 2


@pytest.mark.parametrize(("half", "is_replaced"), [(0.9997, False), (0.99999, True)])
def test_of_two_finds_of_one_face_the_clearly_better_one_stays(
    half: float, is_replaced: bool
) -> None:
    photo = np.zeros((300, 200, 3), np.uint8)
    photo[0] = 200
    box = np.array([50, 100, 149, 199], np.float32)  # in the middle: the same in each half turn
    landmarks = TEMPLATE + np.array([43, 90], np.float32)

    def detect(images):
        scores = [
            0.9995 if image[0].min() else half if image[-1].min() else 0.0 for image in images
        ]
        return [
            Detections(box[None], landmarks[None], np.array([score], np.float32))
            if score
            else nothing()
            for score in scores
        ]

    (found,) = detect_any_way_up(detect, [photo])
    assert found.scores.tolist() == [pytest.approx(half if is_replaced else 0.9995)]


@pytest.mark.parametrize(
    ("upright", "turned", "mirrored", "is_turned"),
    [
        (0.0, 0.99, 0.99, True),
        (0.9, 0.99, 0.99, True),
        (0.98, 0.985, 0.985, False),  # not ahead
        (0.0, 0.9, 0.9, False),  # not sure enough
        (0.9, 0.99, 0.0, False),  # its mirror image shows no face
    ],
)
def test_another_orientation_must_be_sure_and_ahead(
    upright: float, turned: float, mirrored: float, is_turned: bool
) -> None:
    scene = Scene({0: upright, 3: turned}, mirrored={0: upright, 3: mirrored})
    (found,) = detect_any_way_up(scene.detect, [scene.upright])
    assert [float(score) for score in found.scores] == [
        pytest.approx(score) for score in [turned if is_turned else upright] if score
    ]


def test_a_large_photo_is_tried_small_and_found_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def detect(images):
        sizes.extend(image.shape[:2] for image in images)
        return [one(0.9999 if image[0].min() > 100 else 0.6) for image in images]

    monkeypatch.setattr("recognizer.detect.upright.TRIAL_PIXELS", 100)
    photo = np.zeros((40, 20, 3), np.uint8)
    photo[:, 10:] = 200  # above in the photo turned by 90 degrees
    detect_any_way_up(detect, [photo])
    assert sizes[0] == (40, 20)
    assert {height * width for height, width in sizes[1:-1]} == {7 * 14}
    assert sizes[-1] == (20, 40)


def test_landmarks_of_a_face_fit_and_others_do_not() -> None:
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rolled = (3 * TEMPLATE @ turn.T).astype(np.float32)
    scrambled = TEMPLATE[[2, 3, 0, 4, 1]]
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]]
    fits = misfits(np.stack([TEMPLATE, rolled, scrambled, mirrored]))
    np.testing.assert_allclose(fits[:2], 0, atol=1e-3)
    assert (fits[2:] > 9).all()
    assert misfits(np.empty((0, 5, 2), np.float32)).shape == (0,)


def test_misplaced_landmarks_are_no_evidence_for_an_orientation() -> None:
    scrambled = LANDMARKS[[2, 3, 0, 4, 1]]
    photo = np.zeros((40, 20, 3), np.uint8)
    photo[:, -1] = 200  # above in the photo turned by 90 degrees

    def detect(images):
        return [one(0.99) if image[0].min() > 100 else one(0.9999, scrambled) for image in images]

    (found,) = detect_any_way_up(detect, [photo])
    assert found.scores[0] == pytest.approx(0.99)
