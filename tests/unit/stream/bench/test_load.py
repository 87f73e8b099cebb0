"""The addresses and figures of `facewire load`; tests/e2e/test_sfu.py runs it."""

import pytest

from stream.bench.load import LoadPlan, Seen, _figures, whep_of
from stream.errors import StreamError

PLAN = LoadPlan("http://here/whep", "", "", 4, 2.0, 10.0, 1, (77,))


def seen(join_s: float | None, frames: int, missing: int = 0, failure: str = "") -> Seen:
    return Seen(join_s, frames, 100 - missing, missing, 1_000_000, "janus", failure)


@pytest.mark.parametrize(
    ("url", "direct", "whep", "metrics"),
    [
        (
            "http://here:8080",
            False,
            "http://here:8080/api/cameras/my%20door/whep",
            "http://here:8080/metrics",
        ),
        (
            "https://here/faces/",
            True,
            "https://here/faces/api/cameras/my%20door/whep?direct=1",
            "https://here/faces/metrics",
        ),
        ("http://media:8889/door/whep", False, "http://media:8889/door/whep", ""),
    ],
)
def test_the_address_is_of_a_service_or_of_whep(url: str, direct: bool, whep: str, metrics: str):
    assert whep_of(url, "my door", direct=direct) == (whep, metrics)


@pytest.mark.parametrize("url", ["", "here:8080", "ftp://here", "http://", "http://a..b"])
def test_other_addresses_are_refused(url: str):
    with pytest.raises(StreamError, match=r"the address of the service (must be|the host name)"):
        whep_of(url, "door", direct=False)


def test_figures_are_of_those_who_joined():
    viewers = [
        seen(0.1, 50),
        seen(0.3, 40, missing=10),
        seen(0.2, 48),
        seen(None, 0, failure="no route by UDP"),
    ]
    figures = _figures(PLAN, viewers, 2.0, 0.5, 0.25, [0.75])
    assert (figures.joined, figures.viewers, figures.via) == (3, 4, "janus")
    assert figures.fps == (20.0, 24.0, 25.0)
    assert figures.join_s == (0.2, 0.3, 0.3)
    assert figures.loss == pytest.approx(10 / 300)
    assert (figures.bytes, figures.mbit_s) == (3_000_000, 12.0)
    assert (figures.service_cores, figures.viewer_cores) == (0.5, 0.25)
    assert figures.process_cores == {77: 0.75}
    assert figures.failures == {"no route by UDP": 1}


def test_nobody_who_joined_is_one_line():
    with pytest.raises(StreamError, match="none of 4 viewers got video: status 404"):
        _figures(PLAN, [seen(None, 0, failure="status 404")], 2.0, None, 0.0, [0.0])
