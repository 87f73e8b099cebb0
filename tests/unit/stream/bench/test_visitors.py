import numpy as np
import pytest

from recognizer import Quality
from stream.bench.visitor_tracks import SyntheticTrack
from stream.bench.visitors import pair_figures, stream_tracks
from stream.visitors.assignment import JoinLimits, Visitors


def test_pairs_are_counted_by_person_and_visitor():
    # visitor 1 holds three tracks of person 0 and one of person 1; one track was not assigned
    labels = np.array([1, 1, 1, 1, 2, -1])
    people = np.array([0, 0, 0, 1, 1, 1])
    precision, recall = pair_figures(labels, people)
    assert precision == pytest.approx(3 / 6)
    assert recall == pytest.approx(3 / 6)


def test_tracks_without_a_visitor_are_together_with_none():
    assert pair_figures(np.array([-1, -1]), np.array([0, 0])) == (1.0, 0.0)


def test_tracks_of_two_people_become_two_visitors():
    rng = np.random.default_rng(0)
    quality = Quality(80, 30, 0, 0, 0, 1, 0.5, 0.5)
    tracks = []
    for person in np.linalg.qr(rng.normal(size=(128, 2)))[0].T.astype(np.float32):
        for _ in range(5):
            shots = person + rng.normal(0, 0.03, (4, 128)).astype(np.float32)
            shots /= np.linalg.norm(shots, axis=1, keepdims=True)
            tracks.append(SyntheticTrack(str(person[0]), shots, (quality,) * 4, 1.0))
    labels, milliseconds = stream_tracks(Visitors(JoinLimits(0.38, 0.055, 0.05), 128), tracks)
    assert labels.tolist() == [1] * 5 + [2] * 5
    assert len(milliseconds) == 10
