import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, Identity, NewPhoto, Target
from recognizer import Detections, Floats, Followed, Image
from stream.enrollment.crops import enroll_known
from stream.errors import EnrolmentError, UnknownTrackError
from stream.frames import Event, EventKind, Frame, FrameResult, TrackState
from stream.recognition.camera_state import SHOWN_LOST_S
from stream.recognition.face_filter import Limits
from stream.recognition.pipeline import SCAN_EVERY_S, STAGES, STILL_SCAN_S, Pipeline
from stream.recognition.track_memory import AGAIN_EVERY_S
from stream.zones import Zone
from tests.fakes import EMBEDDING_SIZE, FakeFace, FakeRecognizer, FakeWorld, looks_like

STEP_S = 0.04


class Hall:
    """A pipeline, a gallery with Ann (1) and Bob (2), and cameras in a scripted world."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.world = FakeWorld()
        self.recognizer = FakeRecognizer(self.world)
        self.clock = 0.0
        self.pipeline = self.new_pipeline()
        self.at = 0.0
        self.events: list[Event] = []
        for person, name in ((1, "Ann"), (2, "Bob")):
            self.enrol(person, name)

    def name_track(self, camera: str, track_id: str, name: str, *, force: bool = False) -> Identity:
        """Enroll a track as the service does, and assign it."""
        faces = self.pipeline.faces_of(camera, track_id)
        identity = enroll_known(
            self.gallery, Target(name), faces, similarity=self.recognizer.limits, force=force
        )
        self.pipeline.assign(camera, track_id, identity)
        return identity

    def new_pipeline(
        self, clock: Callable[[], float] = lambda: 0.0, *, first_track: int = 1
    ) -> Pipeline:
        return Pipeline(
            self.recognizer,  # type: ignore[arg-type]
            self.gallery,
            threshold=self.recognizer.threshold,
            margin=0.05,
            confirm_s=0.2,
            absence_s=2.0,
            camera_away_s=20.0,
            cooldown_s=10.0,
            clock=clock,
            run="run",
            first_track=first_track,
        )

    def enrol(self, person: int, name: str) -> Identity:
        return self.gallery.photos.add(
            name, [NewPhoto(looks_like(person, 99), None, f"{person:064x}", 0.9)]
        )[0]

    def tick(self, *faces: FakeFace, step_s: float = STEP_S, scene: int = 0) -> FrameResult:
        """Show one frame of the door camera."""
        self.at += step_s
        return self.process([self.world.frame(faces, at=self.at, scene=scene)])[0]

    def process(self, frames: Sequence[Frame]) -> list[FrameResult]:
        results = self.pipeline.process(frames, self.at)
        self.events += [event for result in results for event in result.events]
        return results

    def run(self, seconds: float, *faces: FakeFace) -> FrameResult:
        """Show the same faces for some time; return the last result."""
        for _ in range(round(seconds / STEP_S)):
            result = self.tick(*faces)
        return result

    @property
    def told(self) -> list[str]:
        return [
            f"{event.kind} {event.match.identity.name if event.match else '?'}"
            for event in self.events
        ]


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with Gallery.open(
        tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
    ) as gallery:
        yield Hall(gallery)


def names(result: FrameResult) -> list[str]:
    """Return who is where, left to right."""
    tracks = sorted(result.tracks, key=lambda track: float(track.box[0]))
    return [track.match.identity.name if track.match else str(track.state) for track in tracks]


def test_no_frames_give_no_results(hall: Hall) -> None:
    assert hall.process([]) == []


def test_an_empty_room_gives_no_tracks_and_asks_nobody(hall: Hall) -> None:
    result = hall.run(1.0)
    assert (result.tracks, hall.events) == ((), [])
    assert set(result.timings_ms) == set(STAGES)
    assert {name for name, _ in hall.recognizer.calls} == {"detect"}


def test_people_are_named_and_a_stranger_is_not(hall: Hall) -> None:
    result = hall.run(1.0, FakeFace(1, 100), FakeFace(3, 300), FakeFace(2, 500))
    assert names(result) == ["Ann", "unknown", "Bob"]
    assert sorted(hall.told) == ["enter Ann", "enter Bob", "unknown ?"]


def test_a_name_takes_less_than_a_third_of_a_second(hall: Hall) -> None:
    hall.run(1.06)
    shown_at = hall.at
    hall.run(1.0, FakeFace(1, 100), FakeFace(2, 500))
    assert sorted(hall.told) == ["enter Ann", "enter Bob"]
    assert all(event.at - shown_at <= 0.5 for event in hall.events)
    assert all(event.at - event.first_seen <= 0.3 for event in hall.events)


def test_every_frame_after_the_second_is_annotated_where_the_face_is(hall: Hall) -> None:
    for step in range(100):
        face = FakeFace(1, 100 + 3 * step)
        result = hall.tick(face)
        if step >= 1:
            (track,) = result.tracks
            np.testing.assert_allclose(track.box, face.box, atol=2)
            assert track.track_id == "run-1"


def test_scans_come_at_their_rhythm_and_following_fills_the_time(hall: Hall) -> None:
    for step in range(100):
        hall.tick(FakeFace(1, 100 + 4 * step))
    n_scans = hall.recognizer.count("detect")
    assert n_scans == pytest.approx(4.0 / SCAN_EVERY_S, abs=2)
    assert hall.recognizer.count("follow_flow") == 100 - n_scans


def test_scans_rest_while_nothing_moves_and_come_at_once_when_something_does(hall: Hall) -> None:
    hall.run(0.2)
    hall.recognizer.calls.clear()
    hall.run(10.0)
    assert hall.recognizer.count("detect") == pytest.approx(10.0 / STILL_SCAN_S, abs=1)
    hall.recognizer.calls.clear()
    hall.run(SCAN_EVERY_S, FakeFace(1, 100, size=24))
    assert hall.recognizer.count("detect") >= 1
    assert names(hall.run(1.0, FakeFace(1, 100))) == ["Ann"]


def test_no_crop_is_embedded_that_optical_flow_alone_placed(hall: Hall) -> None:
    for step in range(100):
        hall.recognizer.calls.clear()
        hall.tick(FakeFace(1, 100 + 4 * step))
        if hall.recognizer.count("embed"):
            assert hall.recognizer.count("detect") + hall.recognizer.count("follow") >= 1
            if not hall.recognizer.count("detect"):
                assert hall.recognizer.count("follow") == hall.recognizer.count("embed")


def test_a_face_that_the_network_does_not_confirm_is_not_embedded(hall: Hall) -> None:
    hall.tick()
    hall.run(SCAN_EVERY_S, FakeFace(3, 100))
    hall.run(0.04, FakeFace(3, 104))
    hall.recognizer.calls.clear()
    hidden = FakeFace(3, 104, is_found=False, is_followed=False, is_flowing=True)
    while not hall.recognizer.count("follow"):
        hall.tick(hidden)
    assert hall.recognizer.count("follow") == 1
    assert hall.recognizer.count("embed") == 0
    assert hall.run(SHOWN_LOST_S + STEP_S, hidden).tracks == ()


def test_a_known_face_is_embedded_seldom(hall: Hall) -> None:
    hall.run(2.0, FakeFace(1, 100))
    before = hall.recognizer.count("embed")
    hall.run(20.0, FakeFace(1, 100))
    assert hall.recognizer.count("embed") - before <= 12


def test_a_better_shot_is_looked_at(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100, size=50))
    before = hall.recognizer.count("embed")
    hall.run(0.5, FakeFace(1, 100, size=60))
    assert hall.recognizer.count("embed") > before


def test_no_tick_embeds_more_than_its_share(hall: Hall) -> None:
    faces = [FakeFace(person, 60 + 100 * (person - 1), size=60) for person in range(1, 7)]
    for _ in range(25):
        hall.recognizer.calls.clear()
        result = hall.tick(*faces)
        assert hall.recognizer.count("embed") <= 1  # its cost is not measured yet
        assert [name for name, _ in hall.recognizer.calls].count("embed") <= 1
    assert names(result) == ["Ann", "Bob", *["unknown"] * 4]


def test_a_tick_that_scans_leaves_the_faces_to_the_next_where_time_is_short(hall: Hall) -> None:
    ticks = iter(range(10**9))
    hall.pipeline = hall.new_pipeline(lambda: next(ticks) * 0.05)
    hall.run(1.0, FakeFace(1, 100))
    seen = []
    for step in range(25):
        hall.recognizer.calls.clear()
        result = hall.tick(FakeFace(1, 100 + 4 * step), FakeFace(2, 300))
        seen.append((hall.recognizer.count("detect"), hall.recognizer.count("embed")))
    # The scan that finds the second face, and later ones.
    assert sum(scans for scans, _ in seen) > 1
    assert not any(scans and embedded for scans, embedded in seen)
    assert names(result) == ["Ann", "Bob"]


def test_a_face_is_passed_over_once_where_every_tick_scans(hall: Hall) -> None:
    ticks = iter(range(10**9))
    hall.pipeline = hall.new_pipeline(lambda: next(ticks) * 0.05)
    hall.run(1.0, FakeFace(1, 100))
    for step in range(8):  # so rare that each frame is scanned, and there is no time left
        result = hall.tick(FakeFace(1, 100 + 4 * step), FakeFace(2, 300), step_s=0.9)
        assert hall.recognizer.count("detect") > 0
        hall.recognizer.calls.clear()
    assert names(result) == ["Ann", "Bob"]


def test_quick_scans_and_embeddings_share_a_tick(hall: Hall) -> None:
    ticks = iter(range(10**9))
    hall.pipeline = hall.new_pipeline(lambda: next(ticks) * 1e-4)
    cameras = [f"camera{i}" for i in range(6)]
    most = 0
    for _ in range(50):
        hall.at += STEP_S
        hall.recognizer.calls.clear()
        faces = [FakeFace(1, 100), FakeFace(2, 300)]
        hall.process([hall.world.frame(faces, at=hall.at, camera=name) for name in cameras])
        most = max(most, hall.recognizer.count("embed"))
    assert most > 2


def test_all_cameras_share_each_call(hall: Hall) -> None:
    cameras = [f"camera{i}" for i in range(4)]
    for _ in range(50):
        hall.at += STEP_S
        hall.recognizer.calls.clear()
        results = hall.process(
            [hall.world.frame([FakeFace(1, 100)], at=hall.at, camera=name) for name in cameras]
        )
        calls = [name for name, _ in hall.recognizer.calls]
        assert all(calls.count(name) <= 1 for name in ("detect", "follow_flow", "follow", "embed"))
        assert hall.recognizer.count("detect") <= 1
    assert [names(result) for result in results] == [["Ann"]] * 4
    ids = [track.track_id for result in results for track in result.tracks]
    assert len(set(ids)) == 4


def test_slow_scans_become_rarer(hall: Hall) -> None:
    ticks = iter(range(10**9))
    # Every read of the clock takes 50 ms: a scan, 50 ms; its share of the time is bounded.
    hall.pipeline = hall.new_pipeline(lambda: next(ticks) * 0.05)
    cameras = [f"camera{i}" for i in range(4)]
    for _ in range(250):
        hall.at += STEP_S
        hall.process([hall.world.frame([], at=hall.at, camera=name) for name in cameras])
    # A call costs 50 ms, or 25 each where two cameras share it: 4 * 25 ms / 0.3 = a third of a
    # second between scans, of 10 seconds and 4 cameras.
    assert hall.recognizer.count("detect") < 0.75 * 4 * 10 / SCAN_EVERY_S


def test_a_lost_face_is_scanned_for_at_once(hall: Hall) -> None:
    hall.run(1.02, FakeFace(1, 100))
    hall.recognizer.calls.clear()
    for _ in range(4):
        hall.tick(FakeFace(1, 100, is_followed=False))
    assert hall.recognizer.count("detect") >= 1


@pytest.mark.parametrize(
    "pattern", [[True, False], [False] * 10, [True, False, False, True, False], [False] * 20]
)
def test_a_face_hidden_for_a_moment_keeps_track_and_name(hall: Hall, pattern: list[bool]) -> None:
    hall.run(1.0, FakeFace(1, 100))
    for is_visible in pattern:
        hall.tick(*([FakeFace(1, 100)] if is_visible else []))
    (track,) = hall.run(0.4, FakeFace(1, 100)).tracks
    assert (track.track_id, track.state) == ("run-1", TrackState.KNOWN)
    assert hall.told == ["enter Ann"]


def test_two_people_who_cross_keep_their_names(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100), FakeFace(2, 500))
    for step in range(101):
        ann, bob = FakeFace(1, 100 + 4 * step), FakeFace(2, 500 - 4 * step)
        is_hidden = abs(ann.x - bob.x) < 50
        result = hall.tick(ann, *([] if is_hidden else [bob]))
    result = hall.run(0.5, ann, bob)
    assert names(result) == ["Bob", "Ann"]
    assert sorted(track.track_id for track in result.tracks) == ["run-1", "run-2"]
    assert hall.told == ["enter Ann", "enter Bob"]


@pytest.mark.parametrize("person", [2, 3], ids=["another known person", "a stranger"])
def test_somebody_who_takes_another_s_place_does_not_keep_their_name(
    hall: Hall, person: int
) -> None:
    hall.run(3.0, FakeFace(1, 100))
    changed_at = hall.at
    while hall.at < changed_at + 6:
        result = hall.tick(FakeFace(person, 100))
        is_wrong = "Ann" in names(result)
        assert not is_wrong or hall.at < changed_at + AGAIN_EVERY_S + 0.3
    assert names(result) == [{2: "Bob", 3: "unknown"}[person]]


def test_somebody_else_on_the_same_spot_after_a_cut_gets_no_false_name(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    for _ in range(25):
        result = hall.tick(FakeFace(3, 100), scene=1)
        assert "Ann" not in names(result)
    assert names(result) == ["unknown"]


def test_a_person_who_is_there_before_and_after_a_cut_is_one_track(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    for _ in range(10):
        result = hall.tick(FakeFace(1, 400), scene=1)
    assert [
        (track.track_id, name) for track, name in zip(result.tracks, names(result), strict=True)
    ] == [("run-1", "Ann")]


def test_flat_pictures_are_no_cut(hall: Hall) -> None:
    for gray in (0, 0, 255, 0, 128, 0, 0, 0, 0, 0):
        hall.at += STEP_S
        frame = hall.world.frame([FakeFace(1, 100)], at=hall.at)
        image = frame.image.copy()
        image[:-1] = gray
        image[-1, :-1] = gray
        (result,) = hall.process([Frame("door", frame.seq, hall.at, image)])
    assert [track.track_id for track in result.tracks] == ["run-1"]
    assert hall.recognizer.count("detect") <= 3


def test_nobody_is_followed_over_a_gap_in_the_frames(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    hall.recognizer.calls.clear()
    hall.tick(FakeFace(3, 100), step_s=5.0)
    assert hall.recognizer.count("follow") == 0
    assert names(hall.run(3.0, FakeFace(3, 100))) == ["unknown"]
    assert sorted(hall.told) == ["enter Ann", "exit Ann", "unknown ?"]


def test_a_frame_of_another_size_is_scanned_and_people_keep_their_tracks(hall: Hall) -> None:
    (before,) = hall.run(1.0, FakeFace(1, 100)).tracks
    hall.at += STEP_S
    frame = hall.world.frame([FakeFace(1, 40, 40, size=60)], at=hall.at, size=(90, 90))
    hall.recognizer.calls.clear()
    (result,) = hall.process([frame])
    (after,) = result.tracks
    assert hall.recognizer.count("detect") == 1, "the whole frame is scanned"
    assert (after.track_id, after.box.tolist()) == (before.track_id, [10, 10, 70, 70])


def test_a_stranger_is_named_at_once_and_everywhere(hall: Hall) -> None:
    for _ in range(25):
        hall.at += STEP_S
        results = hall.process(
            [hall.world.frame([FakeFace(3, 100)], at=hall.at, camera=c) for c in ("door", "yard")]
        )
    assert [names(result) for result in results] == [["unknown"]] * 2
    identity = hall.name_track("door", results[0].tracks[0].track_id, "Eve")
    hall.at += STEP_S
    results = hall.process(
        [hall.world.frame([FakeFace(3, 100)], at=hall.at, camera=c) for c in ("door", "yard")]
    )
    assert [names(result) for result in results] == [["Eve"]] * 2
    assert hall.told[-2:] == ["renamed Eve", "renamed Eve"]
    assert hall.gallery.people.find("Eve") == identity
    assert len(hall.gallery.photos.of(identity.identity_id)) >= 1


def test_a_wrong_name_is_corrected_by_hand(hall: Hall) -> None:
    (track,) = hall.run(1.0, FakeFace(1, 100)).tracks
    with pytest.raises(EnrolmentError, match=r"looks like Ann \(similarity"):
        hall.name_track("door", track.track_id, "Annabel")
    hall.name_track("door", track.track_id, "Annabel", force=True)
    assert names(hall.tick(FakeFace(1, 100))) == ["Annabel"]
    for step in range(150):
        result = hall.tick(FakeFace(1, 100 + step))
    assert names(result) == ["Annabel"]


def test_a_face_that_has_just_left_can_still_be_named(hall: Hall) -> None:
    (track,) = hall.run(1.0, FakeFace(3, 100)).tracks
    hall.run(3.0)
    hall.name_track("door", track.track_id, "Eve")
    assert names(hall.run(0.5, FakeFace(3, 100))) == ["Eve"]


def test_a_track_that_never_was_cannot_be_named(hall: Hall) -> None:
    with pytest.raises(UnknownTrackError):
        hall.name_track("door", "run-1", "Eve")
    hall.tick(FakeFace(3, 100))
    with pytest.raises(UnknownTrackError):
        hall.name_track("door", "another run-1", "Eve")


def test_a_face_without_a_good_shot_cannot_be_named(hall: Hall) -> None:
    (track,) = hall.run(1.0, FakeFace(3, 100, size=15)).tracks
    assert track.state is TrackState.UNDECIDED
    with pytest.raises(EnrolmentError, match="too small or turned away"):
        hall.name_track("door", track.track_id, "Eve")


def test_a_gallery_change_shows_in_the_next_frame(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    ann = hall.gallery.people.find("Ann")
    hall.gallery.people.rename(ann.identity_id, "Anna")
    hall.pipeline.regallery()
    assert names(hall.tick(FakeFace(1, 100))) == ["Anna"]
    hall.gallery.people.remove(ann.identity_id)
    hall.pipeline.regallery()
    assert names(hall.tick(FakeFace(1, 100))) != ["Anna"]
    assert names(hall.run(1.0, FakeFace(1, 100))) == ["unknown"]


def test_a_dropped_camera_is_forgotten_and_its_ids_are_not_given_again(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    (left,), (ended,) = hall.pipeline.drop_camera("door", hall.at)
    assert (left.kind, left.at) == ("exit", hall.at)
    assert left.match is not None
    assert (ended.track_id, ended.camera, ended.is_over) == ("run-1", "door", True)
    assert hall.pipeline.drop_camera("never there", hall.at) == ([], [])
    (track,) = hall.run(0.2, FakeFace(1, 100)).tracks
    assert track.track_id == "run-2"


def test_at_the_end_everybody_leaves_once(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100), FakeFace(3, 300))
    hall.pipeline.rename_camera("door", "gate")
    events, sightings = hall.pipeline.end(hall.at)
    assert [(event.kind, event.at) for event in events] == [("exit", hall.at)] * 2
    assert {(each.track_id, each.camera, each.is_over) for each in sightings} == {
        ("run-1", "gate", True),
        ("run-2", "gate", True),
    }
    assert {each.stay for each in sightings} == {event.track_id for event in events}
    assert hall.pipeline.end(hall.at) == ([], [])


def test_people_leave_a_camera_that_gives_no_frames(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    assert hall.pipeline.leave(hall.at + 19.9) == []
    (left,) = hall.pipeline.leave(hall.at + 20.1)
    assert (left.kind, left.at) == ("exit", hall.at + 20.1)
    assert hall.pipeline.leave(hall.at + 20.2) == []


def test_only_faces_within_a_cameras_limits_are_reported(hall: Hall) -> None:
    # The fake's frames are 640 x 240; in the right half only faces of 60 pixels count.
    hall.pipeline.set_limits("door", Limits(min_face_px=60, region=(0.5, 0.0, 1.0, 1.0)))
    left, right, small = FakeFace(1, 100), FakeFace(2, 500), FakeFace(3, 400, size=40)
    result = hall.run(1.0, left, right, small)
    assert names(result) == ["Bob"]
    np.testing.assert_allclose(result.tracks[0].box, right.box, atol=1)
    assert hall.told == ["enter Bob"]


def test_a_face_is_lost_where_it_leaves_the_region(hall: Hall) -> None:
    hall.pipeline.set_limits("door", Limits(region=(0.0, 0.0, 0.5, 1.0)))
    for x in range(100, 600, 10):
        result = hall.tick(FakeFace(1, x))
    assert result.tracks == ()
    hall.run(2.0, FakeFace(1, 600))
    assert hall.told == ["enter Ann", "exit Ann"]


def test_limits_can_change_while_faces_are_followed(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    hall.pipeline.set_limits("door", Limits(region=(0.5, 0.0, 1.0, 1.0)))
    assert hall.run(0.5, FakeFace(1, 100)).tracks == ()
    hall.pipeline.set_limits("door", Limits())
    assert names(hall.run(1.0, FakeFace(1, 100))) == ["Ann"]


def walk(hall: Hall, person: int, *, roll: float = 0, rotation: int = 0) -> FrameResult:
    """Let a person cross the picture in half a minute, with their head turned."""
    for step in range(150):
        hall.at += 0.2
        frame = hall.world.frame([FakeFace(person, 60 + 3 * step, roll=roll)], at=hall.at)
        frame.rotation = rotation
        (result,) = hall.process([frame])
    hall.run(1.2)
    return result


@pytest.mark.parametrize("roll", [90, 180, 270])
def test_a_camera_on_its_side_or_head_is_noticed_until_it_is_rotated(hall: Hall, roll: int) -> None:
    results = [walk(hall, person, roll=roll) for person in range(1, 7)]
    assert [result.turned_by for result in results] == [0, 0, 0, 0, roll, roll]
    assert walk(hall, 7, rotation=roll).turned_by == 0


def test_a_person_in_bed_does_not_turn_the_camera(hall: Hall) -> None:
    for step in range(60):
        for _ in range(10):
            result = hall.tick(FakeFace(1, 300 + 10 * (step % 4), roll=90), step_s=0.2)
        for _ in range(20):
            hall.tick(step_s=0.2)
    assert int(result.tracks[0].track_id.partition("-")[2]) >= 50
    assert result.turned_by == 0


def test_memory_stays_flat_over_many_faces(hall: Hall) -> None:
    for i in range(300):
        hall.tick(FakeFace(3 + i % 200, 100), step_s=1.5)
        hall.tick(FakeFace(3 + i % 200, 100))
    watch = hall.pipeline._cameras["door"]
    assert len(watch.memories) <= 3
    assert len(watch.departed) <= 64


def test_timings_are_those_of_the_tick(hall: Hall) -> None:
    ticks = iter(range(10**9))
    hall.pipeline = hall.new_pipeline(lambda: next(ticks) * 0.001)
    result = hall.run(0.04, FakeFace(1, 100))
    assert result.timings_ms["detect"] >= 1
    assert result.timings_ms["embed"] == pytest.approx(1.0)
    assert result.timings_ms["search"] == pytest.approx(1.0)


class Timed(FakeRecognizer):
    """Takes as long as the real one on two CPU cores, on a clock of its own."""

    now = 0.0
    embed_s = 0.014

    def detect(self, images: Sequence[Image], *, any_way_up: bool = False) -> list[Detections]:
        self.now += 0.023 * len(images)
        return super().detect(images, any_way_up=any_way_up)

    def follow(
        self,
        images: Sequence[Image],
        boxes: Sequence[Floats],
        landmarks: Sequence[Floats] | None = None,
    ) -> list[Followed]:
        self.now += 0.003 * len(images) + 0.001 * sum(map(len, boxes))
        return super().follow(images, boxes, landmarks)

    def embed(self, crops: Image, *, flip: bool = False) -> Floats:
        self.now += self.embed_s * len(crops)
        return super().embed(crops, flip=flip)


def test_twelve_slow_cameras_that_fill_at_once_have_their_names_soon(hall: Hall) -> None:
    hall.recognizer = timed = Timed(hall.world)
    hall.pipeline = hall.new_pipeline(lambda: timed.now)
    # Two enrolled people and a stranger at each camera, 5 frames per second in turn.
    faces = [FakeFace(1, 100), FakeFace(2, 300), FakeFace(3, 500)]
    interval_s, n_cameras = 0.2, 12
    due = [number * interval_s / n_cameras for number in range(n_cameras)]
    latencies = []
    while timed.now < 8.0:
        ready = [number for number, at in enumerate(due) if at <= timed.now]
        timed.now = timed.now if ready else min(due)
        frames = []
        for number in ready:
            frames.append(hall.world.frame(faces, at=due[number], camera=f"camera{number}"))
            due[number] += interval_s
        if frames:
            hall.at = timed.now
            hall.process(frames)
            latencies += [timed.now - frame.captured_at for frame in frames]
    waits = [event.at - event.first_seen for event in hall.events if event.match is not None]
    assert hall.told.count("enter Ann") == hall.told.count("enter Bob") == n_cameras
    assert hall.told.count("unknown ?") == n_cameras
    assert len(hall.told) == 3 * n_cameras
    assert np.percentile(waits, 95) < 1.0
    assert np.percentile(latencies, 95) < 0.1


def test_a_small_face_does_not_wait_for_larger_ones_that_come_after_it(hall: Hall) -> None:
    hall.recognizer = timed = Timed(hall.world)
    timed.embed_s = 0.045  # one a tick
    hall.pipeline = hall.new_pipeline(lambda: timed.now)
    crowd = [FakeFace(3 + number, 40 + 55 * number, size=50) for number in range(10)]
    while hall.at < 1.2:
        hall.at = timed.now = hall.at + STEP_S
        frames = [hall.world.frame([FakeFace(1, 100, size=30), *crowd[2:6]], at=hall.at)]
        if hall.at >= 0.1:
            frames.append(hall.world.frame(crowd, at=hall.at, camera="yard"))
        hall.process(frames)
    [wait] = [event.at - event.first_seen for event in hall.events if event.match is not None]
    assert wait < 0.4


def test_an_event_has_its_track_and_the_track_is_reported_again_when_it_ends(hall: Hall) -> None:
    results = [hall.tick(FakeFace(3, 300), FakeFace(1, 100)) for _ in range(50)]
    assert sorted(hall.told) == ["enter Ann", "unknown ?"]
    for event in hall.events:
        assert event.sighting is not None
        assert event.sighting.stay == event.track_id
        assert event.sighting.n_good >= 1
    (stranger,) = (event for event in hall.events if event.match is None)
    results += [hall.tick() for _ in range(150)]
    ended = {
        sighting.track_id: sighting
        for result in results
        for sighting in result.sightings
        if sighting.is_over
    }
    assert len(ended) == 2
    last = ended[str(stranger.track_id)]
    (other,) = ended.keys() - {last.track_id}
    assert last.beside == {other}
    assert float(last.template @ looks_like(3, 99)) > 0.8
    assert last.ended - last.began == pytest.approx(50 * STEP_S, abs=3 * STEP_S)


def test_faces_that_no_event_announced_are_not_reported(hall: Hall) -> None:
    results = [hall.tick(FakeFace(3, 300)) for _ in range(3)]
    results += [hall.tick() for _ in range(60)]
    assert hall.events == []
    assert not any(result.sightings for result in results)


@pytest.mark.parametrize(
    ("n_frames", "n_reported"),
    [(9, 1), (5, 0)],  # five are in view for too short a time to be announced
)
def test_a_track_that_ends_undecided_is_reported_once(
    hall: Hall, n_frames: int, n_reported: int
) -> None:
    results = [hall.tick(FakeFace(3, 300, quality=0.1)) for _ in range(n_frames)]
    results += [hall.tick() for _ in range(60)]
    found = [sighting for result in results for sighting in result.sightings]
    assert len(found) == n_reported
    assert hall.events == []
    for sighting in found:
        assert (sighting.is_announced, sighting.is_over) == (False, True)
        assert (sighting.track_id, sighting.stay) == ("run-1", "run-1")
        assert (sighting.n_shots, sighting.n_good) == (4, 0)
        assert sighting.ended - sighting.began == pytest.approx((n_frames - 1) * STEP_S)


def test_a_track_that_is_undecided_when_its_camera_is_dropped_is_reported(hall: Hall) -> None:
    for _ in range(9):
        hall.tick(FakeFace(3, 300, quality=0.1))
    left, (ended,) = hall.pipeline.drop_camera("door", hall.at)
    assert left == []
    assert not ended.is_announced


@pytest.mark.parametrize(("is_on", "least", "most"), [(False, 3, 6), (True, 8, 11)])
def test_strangers_are_embedded_more_often_where_they_are_to_be_recognized_again(
    hall: Hall, is_on: bool, least: int, most: int
) -> None:
    hall.pipeline.gather_strangers(lambda: is_on)
    results = [hall.tick(FakeFace(3, 300)) for _ in range(75)]
    results += [hall.tick() for _ in range(150)]
    (ended,) = (s for result in results for s in result.sightings if s.is_over)
    assert least <= ended.n_good <= most


def test_a_face_that_moves_into_a_zone_enters_it(hall: Hall) -> None:
    # The fake's frames are 640 x 240; the face's chin is at 140.
    right = Zone.of("right", [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)])
    low = Zone.of("low", [(0.0, 0.6), (1.0, 0.6), (1.0, 1.0), (0.0, 1.0)])
    hall.pipeline.set_limits("door", Limits(zones=(right, low)))
    hall.run(1.0, FakeFace(1, 100))
    for x in range(100, 500, 10):
        result = hall.tick(FakeFace(1, x))
    assert result.tracks[0].zones == ("right",)
    result = hall.run(1.0, FakeFace(1, 500, y=150))
    assert result.tracks[0].zones == ("right", "low")
    hall.run(3.0)
    assert [(each.kind.value, each.zones) for each in hall.events] == [
        ("enter", ()),
        ("zone", ("right",)),
        ("zone", ("right", "low")),
        ("exit", ("right", "low")),
    ]
    assert hall.events[1].crop is not None
    assert [each.sighting is not None for each in hall.events] == [True, False, False, False]


def test_zones_can_change_while_a_face_is_followed(hall: Hall) -> None:
    hall.run(1.0, FakeFace(1, 100))
    whole = Zone.of("whole", [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    hall.pipeline.set_limits("door", Limits(zones=(whole,)))
    assert hall.run(1.0, FakeFace(1, 100)).tracks[0].zones == ("whole",)
    hall.pipeline.set_limits("door", Limits())
    assert hall.run(0.2, FakeFace(1, 100)).tracks[0].zones == ()
    assert hall.told == ["enter Ann", "zone Ann"]


def test_tracks_and_people_go_on_in_the_pipeline_of_another_process(hall: Hall) -> None:
    ann = FakeFace(1, x=100.0, y=100.0)
    stranger = FakeFace(7, x=400.0, y=100.0)
    seen = hall.run(2.0, ann, stranger)
    before = [track.track_id for track in seen.tracks]
    told = list(hall.events)
    assert len(told) == 2
    carried = hall.pipeline.release_camera("door")
    assert hall.pipeline.release_camera("door") is None
    assert hall.pipeline.end(hall.at) == ([], [])  # nobody leaves here
    assert hall.pipeline.spent_s() == {}
    hall.pipeline = hall.new_pipeline(first_track=1 << 32)
    hall.pipeline.adopt_camera("door", pickle.loads(pickle.dumps(carried)))
    again = hall.run(2.0, ann, stranger)
    assert [track.track_id for track in again.tracks] == before
    assert hall.events == told
    hall.run(3.0)
    assert [event.kind for event in hall.events[2:]] == [EventKind.EXIT] * 2
    assert {event.track_id for event in hall.events[2:]} == {event.track_id for event in told}


def test_after_a_gap_on_the_way_the_same_people_are_not_announced_again(hall: Hall) -> None:
    people = FakeFace(1, x=100.0, y=100.0), FakeFace(7, x=400.0, y=100.0)
    hall.run(2.0, *people)
    told = list(hall.events)
    carried = hall.pipeline.release_camera("door")
    hall.pipeline = hall.new_pipeline(first_track=1 << 32)
    hall.pipeline.adopt_camera("door", pickle.loads(pickle.dumps(carried)))
    hall.at += 4.0  # longer than absence_s
    hall.run(3.0, *people)
    assert hall.events == told


def test_the_time_of_a_tick_is_divided_among_its_cameras(hall: Hall) -> None:
    now = itertools.count()
    hall.pipeline = hall.new_pipeline(clock=lambda: next(now) * 1e-3)
    for _ in range(100):
        hall.at += STEP_S
        faces = (FakeFace(1, x=100.0, y=100.0), FakeFace(7, x=400.0, y=100.0))
        hall.process(
            [
                hall.world.frame(faces, at=hall.at, camera="busy"),
                hall.world.frame((), at=hall.at, camera="empty"),
            ]
        )
    spent_s = hall.pipeline.spent_s()
    assert spent_s["busy"] > spent_s["empty"] > 0
    hall.pipeline.rename_camera("busy", "hall")
    assert hall.pipeline.spent_s()["hall"] == spent_s["busy"]
    hall.pipeline.drop_camera("empty", hall.at)
    assert hall.pipeline.spent_s().keys() == {"hall"}
