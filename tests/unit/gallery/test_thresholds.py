import pytest

from gallery import naming_threshold
from gallery.calibration import calibrate, choose

pytestmark = pytest.mark.on_disk  # what is computed does not depend on the store


@pytest.mark.parametrize(
    ("n_people", "expected"),
    [(0, 0.378), (1, 0.378), (10, 0.433), (100, 0.488), (1000, 0.498), (10**6, 0.498)],
)
def test_more_people_need_more_likeness(n_people, expected):
    assert naming_threshold(0.358, n_people) == pytest.approx(expected)


def test_a_gallery_uses_what_was_chosen_by_calibration(few):
    assert few.threshold_for(0.358) == naming_threshold(0.358, 5)
    result = calibrate(few, far=0.2)
    choose(few, result)
    assert few.threshold_for(0.358) == result.threshold
