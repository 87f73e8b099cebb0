from typing import cast

import numpy as np
import pytest

from recognizer import Quality, Recognizer
from stream.bench.visitor_service import VisitorService
from stream.bench.visitor_tracks import SyntheticTrack
from stream.bench.visitors import VisitorFigures, VisitorRun, pair_figures
from stream.cli.bench import _print_visitors
from tests.fakes import FakeRecognizer, FakeWorld, looks_like


def quality(overall, size_px=80.0):
    return Quality(size_px, 30, 0, 0, 0, 1, 0.5, overall)


def track(person, variant, *, n_shots=8, overall=0.5, size_px=80.0):
    """A track whose shots differ a little."""
    shots = [looks_like(person, 100 * variant + number) for number in range(n_shots)]
    qualities = (quality(overall, size_px),) * n_shots
    return SyntheticTrack(str(person), np.stack(shots), qualities, 0.25 * (n_shots - 1))


def shown(directory, *tracks):
    recognizer = cast("Recognizer", FakeRecognizer(FakeWorld()))
    with VisitorService(recognizer, directory) as service:
        for each in tracks:
            service.show(each)
        assert all(took >= 0 for took in service.took_ms)
        return service.labels().tolist()


def test_pairs_are_counted_by_person_and_visitor():
    # visitor 1 holds three tracks of person 0 and one of person 1; one track was not assigned
    labels = np.array([1, 1, 1, 1, 2, -1])
    people = np.array([0, 0, 0, 1, 1, 1])
    precision, recall = pair_figures(labels, people)
    assert precision == pytest.approx(3 / 6)
    assert recall == pytest.approx(3 / 6)


def test_tracks_without_a_visitor_are_together_with_none():
    assert pair_figures(np.array([-1, -1]), np.array([0, 0])) == (1.0, 0.0)


def test_tracks_of_two_people_become_two_visitors(tmp_path):
    tracks = [track(person, number) for number in range(4) for person in (1, 2)]
    assert shown(tmp_path, *tracks) == [1, 2] * 4


def test_the_rules_of_the_service_decide_which_tracks_count(tmp_path):
    found = shown(
        tmp_path,
        track(1, 0),
        track(1, 1, n_shots=2),  # never announced
        track(1, 2, n_shots=3, overall=0.1),  # clear enough
        track(1, 3, n_shots=3, overall=0.02),  # poor and brief, but of one who came before
        track(2, 6, n_shots=3, overall=0.02),  # poor and brief
        track(1, 4, n_shots=8, overall=0.02),  # poor, but seen for long
        track(1, 5, size_px=30.0),  # too small
    )
    assert found == [1, -1, 1, 1, -1, 1, -1]


def figures(*recalls):
    runs = tuple(
        VisitorRun(
            seed=7 + number,
            tracks=100 + number,
            visitors=10,
            unassigned=0,
            precision=1.0,
            recall=recall,
            visitors_per_person=1.25,
            assign_ms=0.5,
            assign_ms_p50=0.4,
            assign_ms_p95=0.9,
            join=0.5,
            proposals=3,
        )
        for number, recall in enumerate(recalls)
    )
    return VisitorFigures("m", "fake", people=8, seeds=len(runs), runs=runs, unreadable=())


def test_several_seeds_are_given_by_their_medians_and_each():
    found = figures(0.9, 0.5, 0.8).as_json()
    assert (found["recall"], found["precision"], found["seed"], found["seeds"]) == (0.8, 1.0, 7, 3)
    assert [(run["seed"], run["recall"]) for run in found["runs"]] == [(7, 0.9), (8, 0.5), (9, 0.8)]


def test_a_single_seed_is_given_as_it_is():
    found = figures(0.9).as_json()
    (run,) = found["runs"]
    assert found.items() >= run.items()
    assert isinstance(found["tracks"], int)


def test_the_table_says_the_median_and_the_extremes(capsys):
    _print_visitors(figures(0.9, 0.5, 0.8))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0], row[2]) for row in rows] == [
        ("7", "0.9000"),
        ("8", "0.5000"),
        ("9", "0.8000"),
        ("median", "0.8000"),
        ("min", "0.5000"),
        ("max", "0.9000"),
    ]
