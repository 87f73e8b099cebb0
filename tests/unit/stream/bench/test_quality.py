from pathlib import Path

import numpy as np
import pytest

from stream.bench.quality import FARS, choose_photos, chosen_degradations, rates
from stream.errors import StreamError


def people(directory: Path, **counts: int) -> Path:
    for name, n_photos in counts.items():
        (directory / name).mkdir()
        for number in range(n_photos):
            (directory / name / f"{number}.jpg").write_bytes(b"no photo")
    return directory


def test_a_rate_lets_as_many_impostors_pass_as_it_says():
    impostor = np.linspace(-1, 0.5, 10_000, dtype=np.float32)
    genuine = np.array([0.499, 0.45, -0.5, np.nan], np.float32)
    (coarse, fine) = rates(genuine, impostor)
    assert (coarse.far, fine.far) == FARS[:2]
    for rate in (coarse, fine):
        assert (impostor > rate.threshold).sum() == rate.far * len(impostor)
    assert coarse.tar == 0.25
    assert rates(genuine, np.append(impostor, np.nan)) == [coarse, fine]


def test_a_missed_face_is_not_accepted():
    impostor = np.zeros(1000, np.float32)
    (rate,) = rates(np.array([0.9, np.nan], np.float32), impostor)
    assert rate.tar == 0.5


def test_too_few_impostors_give_no_rate():
    assert rates(np.ones(5, np.float32), np.zeros(999, np.float32)) == []
    assert rates(np.empty(0, np.float32), np.zeros(10_000, np.float32)) == []


def test_people_are_chosen_by_the_seed(tmp_path: Path):
    directory = people(tmp_path, **{f"person {n}": 2 for n in range(20)})
    everyone = choose_photos(directory)
    assert len(everyone) == 40
    some = choose_photos(directory, limit=5, seed=1)
    assert some == choose_photos(directory, limit=5, seed=1)
    assert some != choose_photos(directory, limit=5, seed=2)
    assert len({photo.person for photo in some}) == 5
    assert choose_photos(directory, limit=99) == everyone


@pytest.mark.parametrize("counts", [{"Ada": 3}, {"Ada": 1, "Bob": 1}])
def test_photos_without_pairs_are_refused(tmp_path: Path, counts: dict[str, int]):
    with pytest.raises(StreamError, match=r"two people and a second photo of one are needed"):
        choose_photos(people(tmp_path, **counts))


def test_degradations_are_chosen_by_name():
    assert list(chosen_degradations(" dark, as-is")) == ["as-is", "dark"]
    assert len(chosen_degradations(None)) > 20
    for wrong in ("dork", "dark,dork", ",", ""):
        with pytest.raises(StreamError, match="one of as-is, 48px"):
            chosen_degradations(wrong)
