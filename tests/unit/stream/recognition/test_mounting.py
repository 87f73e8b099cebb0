import pytest

from stream.recognition.mounting import MAX_FACES, MIN_FACES, MIN_SPAN_S, Mounting
from stream.recognition.tracker import Tracked
from tests.fakes import FakeFace, looks_like

SAME_FACE = 0.3
BETWEEN_S = MIN_SPAN_S / (MIN_FACES - 1)


class Door:
    """A camera's count, and a clock."""

    def __init__(self) -> None:
        self.mounting = Mounting(same_face=SAME_FACE)
        self.at = 0.0
        self.n_tracks = 0

    def track(self, face: FakeFace, *, n_seen: int = 2, score: float = 0.9) -> Tracked:
        """Return a new track of a face."""
        self.n_tracks += 1
        return Tracked(
            f"run-{self.n_tracks}",
            face.box,
            face.landmarks,
            score,
            first_seen=self.at,
            last_seen=self.at,
            steady_box=face.box,
            n_seen=n_seen,
            template=looks_like(face.person),
        )

    def passing(self, *rolls: float, every_s: float = BETWEEN_S, first: int = 1) -> int:
        """Let people pass, one after the other, with their heads turned; return the result."""
        for person, roll in enumerate(rolls, first):
            face = FakeFace(person, 200 * self.n_tracks, roll=roll)
            self.mounting.scanned([self.track(face)], self.at)
            self.at += every_s
        return self.mounting.turned_by


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize(
    ("roll", "turned_by"), [(90, 90), (180, 180), (270, 270), (-90, 270), (200, 180), (65, 90)]
)
def test_faces_that_are_turned_the_same_way_are_noticed(
    door: Door, roll: float, turned_by: int
) -> None:
    assert door.passing(*[roll] * (MIN_FACES - 1)) == 0
    assert door.passing(roll, first=MIN_FACES) == turned_by


@pytest.mark.parametrize("roll", [0, 25, -25, 45, 135])
def test_faces_that_are_upright_or_lean_are_not_turned(door: Door, roll: float) -> None:
    assert door.passing(*[roll] * 10) == 0


def test_five_faces_within_less_than_two_minutes_are_too_few(door: Door) -> None:
    assert door.passing(*[180] * MIN_FACES, every_s=BETWEEN_S - 1) == 0
    assert door.passing(180, first=MIN_FACES + 1) == 180


def test_a_crowd_of_turned_faces_is_noticed_after_two_minutes(door: Door) -> None:
    assert door.passing(*[180] * 60, every_s=2) == 0
    assert door.passing(180) == 180


@pytest.mark.parametrize(
    ("n_upright", "n_left", "turned_by"), [(2, 0, 90), (3, 0, 0), (0, 3, 0), (1, 1, 90)]
)
def test_four_in_five_must_be_turned_the_same_way(
    door: Door, n_upright: int, n_left: int, turned_by: int
) -> None:
    assert door.passing(*[0] * n_upright, *[270] * n_left, *[90] * 8) == turned_by


def test_upright_faces_end_it(door: Door) -> None:
    assert door.passing(*[180] * 3 * MAX_FACES) == 180
    assert door.passing(*[0] * 4) == 180
    assert door.passing(0) == 0


def test_another_rotation_ends_it_and_the_same_does_not(door: Door) -> None:
    door.mounting.rotated(0)
    door.passing(*[180] * MIN_FACES)
    door.mounting.rotated(0)
    assert door.mounting.turned_by == 180
    door.mounting.rotated(180)
    assert door.mounting.turned_by == 0
    assert door.passing(180) == 0, "it starts anew"


def test_a_person_in_bed_is_one_face_however_often_the_track_is_lost(door: Door) -> None:
    for step in range(20):
        face = FakeFace(1, 300 + 60 * (step % 3), roll=90)
        door.mounting.scanned([door.track(face)], door.at)
        door.at += 60
    assert door.mounting.turned_by == 0


def test_a_person_who_walks_through_again_and_again_is_several_faces(door: Door) -> None:
    for _ in range(MIN_FACES):
        track = door.track(FakeFace(1, 100, roll=180))
        for x in range(100, 600, 100):
            face = FakeFace(1, x, roll=180)
            track.box, track.landmarks = face.box, face.landmarks
            door.mounting.scanned([track], door.at)
            door.at += 0.2
        door.at += BETWEEN_S
    assert door.mounting.turned_by == 180


def test_the_majority_of_its_newest_scans_is_the_turn_of_a_face(door: Door) -> None:
    tracks = [door.track(FakeFace(1 + n, 100 * n)) for n in range(MIN_FACES)]
    for rolls in ([0] * 40, [180] * 7, [180]):
        before = door.mounting.turned_by
        for roll in rolls:
            for n, track in enumerate(tracks):
                track.landmarks = FakeFace(1 + n, 100 * n, roll=roll).landmarks
            door.mounting.scanned(tracks, door.at)
            door.at += 3
        assert before == 0
    assert door.mounting.turned_by == 180


def test_doubtful_faces_do_not_count(door: Door) -> None:
    for person in range(1, 11):
        turned = FakeFace(person, 100, roll=180)
        tracks = [
            door.track(turned, n_seen=1),
            door.track(turned, score=0.7),
            door.track(turned),
            door.track(turned),
        ]
        tracks[2].template, tracks[3].is_doubtful = None, True
        door.mounting.scanned(tracks, door.at)
        door.at += BETWEEN_S
    assert door.mounting.turned_by == 0


def test_a_frame_without_faces_changes_nothing(door: Door) -> None:
    door.passing(*[180] * MIN_FACES)
    door.mounting.scanned([], door.at)
    assert door.mounting.turned_by == 180
