from collections.abc import Sequence

import numpy as np
import pytest

from recognizer.detect.scan import (
    MARGIN,
    NOBODY,
    PLACE_EVERY,
    PLACE_OFTEN,
    PLACE_STEP,
    ROUND,
    TURN_EVERY,
    TURN_OFTEN,
    TURNS,
    Known,
    LiveScan,
    rolls_of,
    scan_frames,
)
from recognizer.faces import Detections, Followed
from recognizer.geometry.alignment import TEMPLATE


def frame(height: int = 720, width: int = 1280, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 110, (height, width, 3)).astype(np.uint8)


def moved(image: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the frame with a face of 24 px at a place."""
    changed = image.copy()
    changed[y : y + 24, x : x + 24] = 250
    return changed


@pytest.mark.parametrize(
    ("height", "width"), [(720, 1280), (1080, 1920), (360, 640), (100, 90), (1280, 720), (13, 999)]
)
def test_one_round_searches_every_place_of_a_new_scene(height: int, width: int) -> None:
    scan, image = LiveScan(), frame(height, width)
    searched = np.zeros((height, width), bool)
    for _ in range(ROUND):
        tiles = scan.tiles(image)
        assert len({(y2 - y1, x2 - x1) for x1, y1, x2, y2 in tiles}) == 1, "one run for all"
        for x1, y1, x2, y2 in tiles:
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            searched[y1:y2, x1:x2] = True
    assert searched.all()
    assert not scan.has_more


def test_tiles_overlap_by_the_window_of_the_largest_small_face() -> None:
    scan, image = LiveScan(), frame()
    tiles = np.concatenate([scan.tiles(image) for _ in range(ROUND)])
    for x, y in np.random.default_rng(1).uniform([0, 0], [1280 - 34, 720 - 34], (500, 2)):
        inside = (tiles[:, :2] <= [x, y]) & (tiles[:, 2:] >= [x + 34, y + 34])
        assert inside.all(axis=1).any(), "a window that no tile holds"
    assert MARGIN >= 34


def settled() -> tuple[LiveScan, np.ndarray]:
    scan, image = LiveScan(), frame()
    for _ in range(2 * ROUND):
        scan.tiles(image)
    return scan, image


def holds(tiles: np.ndarray, x: int, y: int) -> bool:
    return bool(((tiles[:, :2] <= [x, y]) & (tiles[:, 2:] >= [x + 24, y + 24])).all(axis=1).any())


def test_where_nothing_moves_one_tile_is_searched_in_turn() -> None:
    scan, image = settled()
    tiles = [scan.tiles(image) for _ in range(16)]
    assert [len(each) for each in tiles] == [1] * 16
    assert len(np.unique(np.concatenate(tiles), axis=0)) == 16


def test_a_small_face_that_appears_is_searched_at_once() -> None:
    scan, image = settled()
    tiles = scan.tiles(moved(image, 700, 400))
    assert len(tiles) <= 4
    assert holds(tiles, 700, 400)
    assert len(scan.tiles(moved(image, 700, 400))) == 1, "it moves no more"


@pytest.mark.parametrize("sigma", [0, 3, 6])
def test_noise_is_no_motion(sigma: float) -> None:
    rng, scan = np.random.default_rng(0), LiveScan()
    image = np.full((720, 1280, 3), 100.0)
    counts = []
    for _ in range(30):
        noisy = image + rng.normal(0, sigma, image.shape)
        counts.append(len(scan.tiles(noisy.clip(0, 255).astype(np.uint8))))
    assert set(counts[ROUND:]) == {1}


def test_where_everything_moves_each_tile_waits_one_round() -> None:
    scan, waits, last = LiveScan(), [], {}
    for number in range(40):
        # another brightness each time: everything changes
        tiles = scan.tiles(np.full((720, 1280, 3), 80 * (number % 3), np.uint8))
        assert len(tiles) == 16 // ROUND
        for tile in map(tuple, tiles):
            waits.append(number - last.get(tile, number))
            last[tile] = number
    assert max(waits) == ROUND


def test_another_size_begins_anew() -> None:
    scan, _ = settled()
    tiles = scan.tiles(frame(360, 640))
    assert (tiles[:, 2:] <= [640, 360]).all()
    assert scan.has_more


def angles(scan: LiveScan, n: int, *, is_anybody_upright: bool, moving: bool = True) -> list[int]:
    images = frame(seed=1), moved(frame(seed=1), 300, 300)
    found = []
    for number in range(n):
        scan.tiles(images[number % 2 if moving else 0])
        found.append(scan.turn())
        scan.found(is_anybody_upright=is_anybody_upright)
    return found


def test_angles_are_tried_in_turn_beside_upright_faces() -> None:
    found = angles(LiveScan(), TURN_EVERY * len(TURNS), is_anybody_upright=True)
    assert [angle for angle in found if angle] == list(TURNS)


def test_angles_are_tried_sooner_where_nobody_is_upright_and_then_rest() -> None:
    scan = LiveScan()
    angles(scan, 1, is_anybody_upright=False)
    assert scan.has_more
    found = angles(scan, TURN_OFTEN * len(TURNS), is_anybody_upright=False)
    assert [angle for angle in found if angle] == list(TURNS)
    angles(scan, TURN_OFTEN * len(TURNS), is_anybody_upright=False, moving=False)
    assert not scan.has_more
    still = angles(scan, 2 * TURN_EVERY, is_anybody_upright=False, moving=False)
    assert sum(angle != 0 for angle in still) == 2


def places(
    scan: LiveScan, images: Sequence[np.ndarray], *, is_anybody_upright: bool
) -> list[tuple[np.ndarray, int] | None]:
    found = []
    for image in images:
        scan.tiles(image)
        found.append(scan.turned_place())
        scan.found(is_anybody_upright=is_anybody_upright)
    return found


@pytest.mark.parametrize(
    ("is_anybody_upright", "every"), [(True, PLACE_EVERY), (False, PLACE_OFTEN)]
)
def test_what_moved_is_searched_by_every_angle_and_then_rests(
    is_anybody_upright: bool, every: int
) -> None:
    scan, image = settled()
    places(scan, [image] * every * len(TURNS) * 16, is_anybody_upright=is_anybody_upright)
    after = [moved(image, 700, 400)] * (every * len(TURNS) + every)
    found = places(scan, after, is_anybody_upright=is_anybody_upright)
    searched = [place for place in found if place is not None]
    assert sorted(angle for _, angle in searched) == sorted(TURNS)
    for (x1, y1, x2, y2), _ in searched:
        assert x1 <= 700 < 724 <= x2
        assert y1 <= 400 < 424 <= y2
        assert (x2 - x1) * (y2 - y1) < 200 * 200, "no more than around it"


def test_several_places_that_move_take_turns() -> None:
    scan, image = settled()
    places(scan, [image] * PLACE_EVERY * len(TURNS) * 16, is_anybody_upright=True)
    both = moved(moved(image, 100, 100), 1100, 600)
    found = places(scan, [both] * 4 * PLACE_EVERY, is_anybody_upright=True)
    lefts = [place[0][0] for place in found if place is not None]
    assert len(lefts) == 4
    assert lefts[:2] == lefts[2:]
    assert lefts[0] != lefts[1]


def test_places_stay_inside_of_the_frame_and_end_with_its_size() -> None:
    scan, image = settled()
    found = places(scan, [moved(image, 1256, 696)] * PLACE_EVERY, is_anybody_upright=True)
    boxes = [place[0] for place in found if place is not None]
    assert boxes
    assert (np.array(boxes)[:, 2:] <= [1280, 720]).all()
    small = frame(90, 160)
    for place in places(scan, [small] * 3 * PLACE_EVERY, is_anybody_upright=True):
        assert place is None or (place[0][2:] <= [160, 90]).all()


@pytest.mark.parametrize("roll", [-170.0, -60.0, -20.0, 0.0, 29.0, 31.0, 90.0, 179.0])
def test_rolls_are_clockwise_and_small_ones_none(roll: float) -> None:
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    points = (TEMPLATE @ np.array([[cos, sin], [-sin, cos]])).astype(np.float32)
    assert rolls_of(points[None])[0] == pytest.approx(roll if abs(roll) >= 30 else 0, abs=3)
    assert rolls_of(NOBODY.landmarks).shape == (0,)


def faces(*boxes: tuple[float, float, float, float], score: float = 0.99) -> Detections:
    n = len(boxes)
    array = np.array(boxes, np.float32).reshape(n, 4)
    size = (array[:, 2:] - array[:, :2])[:, None]
    landmarks = (array[:, None, :2] + TEMPLATE / 112 * size).astype(np.float32)
    return Detections(array, landmarks, np.full(n, score, np.float32))


class Options:
    min_face_px = 24


class FakeDetector:
    """Finds what it is given, and follows every box with one score."""

    options = Options()
    scans_in_parts = True

    def __init__(self, found: Detections, score: float) -> None:
        self.found_now, self.score = found, score
        self.followed: list[np.ndarray] = []
        self.places: list[np.ndarray] = []

    def detect(
        self, images, *, min_face_px=None, small_px=0, parts=None, add_largest=True, without=None
    ):
        self.places += [] if add_largest else images
        return [self.found_now if min_face_px is None else faces() for _ in images]

    def follow(self, images, boxes, angles):
        self.followed += boxes
        results = []
        for group in boxes:
            seen = faces(*group.tolist(), score=self.score)
            lost = np.zeros(len(group), bool)
            results.append(Followed(seen.boxes, seen.landmarks, seen.scores, lost))
        return results


@pytest.mark.parametrize(
    ("box", "score", "n"),
    [
        ((600, 300, 624, 324), 0.9, 2),  # small, in a tile that is not searched now
        ((600, 300, 624, 324), 0.5, 1),  # O-Net sees no face there
        ((600, 300, 700, 400), 0.9, 1),  # large: the scan searched for it
        ((102, 101, 200, 199), 0.9, 1),  # found already
    ],
)
def test_known_small_faces_stay_between_two_searches(box, score: float, n: int) -> None:
    scan, image = settled()
    detector = FakeDetector(faces((100, 100, 200, 200)), score)
    while not holds(scan.tiles(image), 600, 300):
        pass  # another tile is next
    before = faces(box)
    known = Known(before.boxes, before.landmarks)
    (found,) = scan_frames(detector, [image], [scan], [known])  # type: ignore[arg-type]
    assert len(found) == n
    assert (np.diff(found.scores) <= 0).all()


def test_places_of_turned_faces_have_few_sizes() -> None:
    scan, image = settled()
    detector = FakeDetector(faces((100, 100, 200, 200)), 0.9)
    for seed in range(6 * PLACE_EVERY):
        x, y = np.random.default_rng(seed).integers([0, 0], [1256, 696])
        scan_frames(detector, [moved(image, x, y)], [scan], [NOBODY])  # type: ignore[arg-type]
    upright = [place.shape[:2] for place in detector.places if place[0, 0].any()]
    assert upright
    assert all(side % PLACE_STEP == 0 for size in upright for side in size)
