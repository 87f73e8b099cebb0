import pytest

from stream.metrics.windows import Percentiles, Rate, Window


def test_an_empty_window_is_zero() -> None:
    assert Window().percentiles() == Percentiles(0.0, 0.0, 0)


def test_percentiles_of_the_last_values_only() -> None:
    window = Window(size=101)
    for value in range(1000):
        window.add(float(value))
    assert window.percentiles() == Percentiles(949.0, 994.0, 101)
    window.clear()
    assert window.percentiles().n == 0


@pytest.mark.parametrize("times", [[], [1.0]])
def test_no_rate_from_less_than_two(times: list[float]) -> None:
    rate = Rate()
    for at in times:
        rate.tick(at)
    assert rate.per_s(1.0) == 0.0


def test_rate_of_the_last_seconds() -> None:
    rate = Rate(span_s=2.0)
    for index in range(100):
        rate.tick(index * 0.04)
    assert rate.per_s(99 * 0.04) == pytest.approx(25.0)
    assert rate.per_s(10.0) == 0.0
