from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer import Detections, Floats, Followed
from stream.recognition.tracker import (
    MAX_LOOKS,
    MAX_MISSED_SCANS,
    MAX_UNSEEN_S,
    PATIENCE_S,
    Tracked,
    Tracker,
    iou,
)
from tests.fakes import FakeFace, as_detections, looks_like

STEP_S = 0.04


class Stage:
    """A tracker with a scripted world in front of it."""

    def __init__(self) -> None:
        ids = count(1)
        self.tracker = Tracker(lambda: str(next(ids)), same_face=0.36)
        self.at = 0.0
        self.n_looks = 0

    def scan(self, *faces: FakeFace) -> dict[int, int]:
        """Scan a frame; return track ids by person."""
        self.at += STEP_S
        found = as_detections(faces)
        pairs = self.tracker.scan(found, self.at, lambda rows: self._look(faces, rows))
        for track, row in pairs:
            if track.template is None:
                track.template = looks_like(faces[row].person)
        return {faces[row].person: int(track.track_id) for track, row in pairs}

    def follow(self, *faces: FakeFace | None) -> list[int]:
        """Follow into a frame: one face or None for each followed track; return who is left."""
        self.at += STEP_S
        boxes = np.stack(
            [
                track.box if face is None else face.box
                for track, face in zip(self.tracker.followed, faces, strict=True)
            ]
        )
        found = Followed(
            boxes,
            np.zeros((len(faces), 5, 2), np.float32),
            np.full(len(faces), 0.9, np.float32),
            np.array([face is None for face in faces]),
        )
        self.tracker.follow(found, self.at)
        return self.ids

    def _look(self, faces: tuple[FakeFace, ...], rows: list[int]) -> Floats:
        self.n_looks += len(rows)
        assert len(rows) <= MAX_LOOKS
        return np.stack([looks_like(faces[row].person, 7) for row in rows])

    @property
    def ids(self) -> list[int]:
        return [int(track.track_id) for track in self.tracker.tracks]


def test_nobody_leaves_no_track() -> None:
    stage = Stage()
    assert stage.scan() == {}
    assert stage.ids == []


def test_a_doubtful_detection_begins_no_track_but_keeps_one() -> None:
    tracker = Tracker(lambda: "1", same_face=0.36)
    faces = as_detections([FakeFace(1, 100)])
    doubtful = Detections(faces.boxes, faces.landmarks, faces.scores * 0 + np.float32(0.55))
    assert tracker.scan(doubtful, 0.0, lambda _: looks_like(1)[None]) == []
    assert len(tracker.scan(faces, STEP_S, lambda _: looks_like(1)[None])) == 1
    assert len(tracker.scan(doubtful, 2 * STEP_S, lambda _: looks_like(1)[None])) == 1


def test_faces_keep_their_tracks_while_they_move() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100), FakeFace(2, 400))
    for step in range(1, 50):
        faces = FakeFace(2, 400 - 2 * step), FakeFace(1, 100 + 2 * step)
        assert stage.scan(*faces) == first
    assert stage.n_looks == 0, "faces apart are told apart without looking"


def test_following_moves_boxes_and_learns_the_motion() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    for step in range(1, 20):
        stage.follow(FakeFace(1, 100 + 4 * step))
    (track,) = stage.tracker.tracks
    np.testing.assert_allclose(track.box, FakeFace(1, 176).box)
    np.testing.assert_allclose(track.velocity, [100, 0], atol=2)
    np.testing.assert_allclose(
        track.box_at(stage.at + 0.1), FakeFace(1, 186).box, atol=0.5, err_msg="it is predicted"
    )


def test_a_trembling_box_is_shown_steadier_and_without_lag() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    shown, raw = [], []
    for step in range(1, 60):
        x = 100 + 4 * step
        stage.follow(FakeFace(1, x + (1.5 if step % 2 else -1.5)))
        (track,) = stage.tracker.tracks
        shown.append(track.steady_box_at(stage.at)[0] - (x - 40))
        raw.append(track.box[0] - (x - 40))
    assert np.std(shown[20:]) < 0.7 * np.std(raw[20:])
    assert abs(np.mean(shown[20:])) < 0.5


def test_a_jump_is_shown_at_once() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 120))
    (track,) = stage.tracker.tracks
    np.testing.assert_allclose(track.steady_box, FakeFace(1, 120).box)


def test_a_frame_of_the_same_moment_changes_no_velocity() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    (track,) = stage.tracker.tracks
    track.see(FakeFace(1, 110).box, track.landmarks, 0.9, track.last_seen)
    np.testing.assert_array_equal(track.velocity, [0, 0])


def test_following_refuses_another_number_of_faces() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100), FakeFace(2, 300))
    found = Followed(
        np.zeros((1, 4), np.float32),
        np.zeros((1, 5, 2), np.float32),
        np.zeros(1, np.float32),
        np.zeros(1, np.bool_),
    )
    with pytest.raises(ValueError, match="expected 2 followed faces, got 1"):
        stage.tracker.follow(found, 1.0)


def test_a_detection_that_the_next_frame_denies_was_a_mistake() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    assert stage.follow(None) == []


@pytest.mark.parametrize("n_missed", [1, 2, MAX_MISSED_SCANS])
def test_missed_scans_do_not_end_a_track_that_is_followed(n_missed: int) -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    for _ in range(n_missed):
        stage.scan()
        stage.follow(FakeFace(1, 100))
    assert stage.scan(FakeFace(1, 100)) == first


def test_a_track_that_no_scan_confirms_is_lost() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    for _ in range(MAX_MISSED_SCANS + 1):
        stage.scan()
    assert stage.tracker.followed == ()


@pytest.mark.parametrize(
    "pattern",
    [
        [True, False, True],
        [True, False, False, False, True],
        [False, True, False, True, False, True],
        [False] * 20 + [True],
    ],
)
def test_an_occlusion_of_less_than_a_second_keeps_the_track(pattern: list[bool]) -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    for is_visible in pattern:
        if stage.tracker.followed:
            stage.follow(FakeFace(1, 100) if is_visible else None)
        else:
            stage.scan(*([FakeFace(1, 100)] if is_visible else []))
    assert stage.ids == list(first.values())


def test_a_face_that_stays_away_is_forgotten_and_its_id_is_not_given_again() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    stage.follow(None)
    for _ in range(int(PATIENCE_S / STEP_S) + 2):
        stage.scan()
    assert stage.ids == []
    assert stage.scan(FakeFace(1, 100)) != first


def test_a_face_that_comes_out_elsewhere_is_known_by_its_looks() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    stage.follow(None)
    assert stage.scan(FakeFace(1, 250)) == first
    assert stage.n_looks == 1


def test_somebody_else_at_a_lost_face_s_place_gets_a_track_of_their_own() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    stage.follow(None)
    assert stage.scan(FakeFace(2, 100)) == {2: 2}
    assert stage.scan(FakeFace(2, 100), FakeFace(1, 250)) == {2: 2, **first}


def test_two_people_who_cross_keep_their_tracks() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100), FakeFace(2, 400))
    for step in range(1, 75):
        faces = FakeFace(1, 100 + 4 * step), FakeFace(2, 400 - 4 * step)
        is_hidden = abs(faces[0].x - faces[1].x) < 40
        if step % 6 == 0 or len(stage.tracker.followed) < 2:
            stage.scan(*(faces[:1] if is_hidden else faces))
        elif is_hidden:
            stage.follow(faces[0], faces[0])  # the hidden one is followed onto the nearer face
        else:
            stage.follow(*faces)
    assert stage.scan(*faces) == first


def test_a_followed_face_that_jumps_is_doubted_until_a_scan_has_looked() -> None:
    stage = Stage()
    first = stage.scan(FakeFace(1, 100))
    stage.follow(FakeFace(1, 100))
    stage.follow(FakeFace(1, 160))
    (track,) = stage.tracker.tracks
    assert track.is_doubtful
    assert stage.scan(FakeFace(1, 162)) == first
    assert not track.is_doubtful


def test_two_tracks_on_one_face_are_one_too_many() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100), FakeFace(2, 200))
    stage.follow(FakeFace(1, 100), FakeFace(2, 200))
    stage.follow(FakeFace(1, 102), FakeFace(1, 103))
    assert [int(track.track_id) for track in stage.tracker.followed] == [1]
    assert all(track.is_doubtful for track in stage.tracker.tracks)


def test_of_three_tracks_on_one_face_one_remains() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100), FakeFace(2, 200), FakeFace(3, 300))
    stage.follow(FakeFace(1, 100), FakeFace(2, 200), FakeFace(3, 300))
    stage.follow(FakeFace(1, 102), FakeFace(1, 103), FakeFace(1, 103))
    assert [int(track.track_id) for track in stage.tracker.followed] == [1]


def test_after_a_cut_only_looks_count() -> None:
    stage = Stage()
    stage.scan(FakeFace(1, 100), FakeFace(2, 400))
    stage.follow(FakeFace(1, 100), FakeFace(2, 400))
    stage.tracker.cut()
    assert stage.tracker.followed == ()
    assert stage.scan(FakeFace(3, 100), FakeFace(1, 600)) == {3: 3, 1: 1}


def test_a_track_without_looks_is_told_by_overlap_alone() -> None:
    ids = count(1)
    tracker = Tracker(lambda: str(next(ids)), same_face=0.36)
    for at in (0.0, 0.2):
        found = as_detections([FakeFace(1, 100), FakeFace(2, 130)])
        pairs = tracker.scan(found, at, lambda rows: np.empty((len(rows), 0), np.float32))
        assert [int(track.track_id) for track, _ in pairs] == [1, 2]


def test_iou_of_nothing_is_empty() -> None:
    assert iou(np.empty((0, 4), np.float32), np.zeros((3, 4), np.float32)).shape == (0, 3)


def test_iou_of_points_is_zero() -> None:
    points = np.zeros((1, 4), np.float32)
    np.testing.assert_array_equal(iou(points, points), [[0.0]])


boxes = st.tuples(*[st.floats(0, 100, width=32) for _ in range(4)]).map(
    lambda v: [v[0], v[1], v[0] + v[2] + 1, v[1] + v[3] + 1]
)


@given(st.lists(boxes, min_size=1, max_size=5), st.lists(boxes, min_size=1, max_size=5))
def test_iou_equals_the_slow_formula(first: list[list[float]], second: list[list[float]]) -> None:
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    expected = np.zeros((len(a), len(b)))
    for i, (ax1, ay1, ax2, ay2) in enumerate(a.astype(float)):
        for j, (bx1, by1, bx2, by2) in enumerate(b.astype(float)):
            shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
            union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
            expected[i, j] = shared / union
    np.testing.assert_allclose(iou(a, b), expected, atol=1e-9)


moments = st.lists(
    st.tuples(
        st.sampled_from(["scan", "follow", "cut"]),
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 600)), max_size=4),
        st.lists(st.booleans(), min_size=12, max_size=12),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(moments)
def test_whatever_happens_ids_are_unique_and_never_reused(
    script: list[tuple[str, list[tuple[int, int]], list[bool]]],
) -> None:
    stage = Stage()
    gone: set[int] = set()
    before: set[int] = set()
    for kind, people, is_visible in script:
        faces = [FakeFace(person, x) for person, x in people]
        followed: tuple[Tracked, ...] = stage.tracker.followed
        if kind == "scan":
            pairs = stage.scan(*faces)
            assert len(set(pairs.values())) == len(pairs)
        elif kind == "cut":
            stage.tracker.cut()
        elif followed:
            stage.follow(
                *(
                    FakeFace(1, float(track.box[0]) + 45) if is_visible[i % 12] else None
                    for i, track in enumerate(followed)
                )
            )
        ids = stage.ids
        assert len(ids) == len(set(ids))
        assert not gone & set(ids), "an id came back"
        gone |= before - set(ids)
        before = set(ids)
        for track in stage.tracker.tracks:
            assert track.first_seen <= track.last_seen <= stage.at
            assert np.isfinite(track.box_at(stage.at)).all()


def test_after_seconds_of_few_frames_the_next_face_in_the_same_place_is_another_track() -> None:
    stage = Stage()
    face = FakeFace(1, 100)
    first = stage.scan(face)
    stage.at += 1.0
    assert stage.scan(face) == first
    stage.at += MAX_UNSEEN_S
    stage.scan()
    assert stage.scan(face) != first
