import numpy as np
import pytest

from gallery import rows as rows_module
from stream.events import search_index as index_module
from stream.events.search_index import Filter, SearchIndex, Stored

SIZE = 32
EVERYTHING = Filter()


def units(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, SIZE)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Truth:
    """The obvious index: a dict and a loop."""

    def __init__(self, index: SearchIndex) -> None:
        self.index = index
        self.rows: dict[int, tuple[int, str, float, np.ndarray]] = {}
        self.n_fetched = 0

    def put(self, ids, events, cameras, at, templates) -> None:
        self.index.put(np.array(ids, np.int64), cameras, np.array(at, float), templates)
        for row in zip(ids, events, cameras, at, templates, strict=True):
            self.rows[row[0]] = row[1:]

    def remove(self, ids) -> None:
        self.index.remove(np.array(ids, np.int64))
        for each in ids:
            self.rows.pop(each, None)

    def fetch(self, ids):
        self.n_fetched += len(ids)
        return {i: Stored(self.rows[i][0], self.rows[i][3]) for i in ids if i in self.rows}

    def best(self, probes, limit, least, only):
        best: dict[int, float] = {}
        for event, camera, at, template in self.rows.values():
            if only.camera not in (None, camera) or not (
                (only.after or 0) <= at < (only.before or 1e9)
            ):
                continue
            best[event] = max(best.get(event, -2.0), float((probes @ template).max()))
        found = sorted(best.items(), key=lambda item: (-item[1], -item[0]))
        return [each for each in found if each[1] >= least][:limit]

    def check(self, probes, limit=5, least=-1.0, only=EVERYTHING) -> None:
        hits = self.index.search(probes, self.fetch, limit=limit, min_similarity=least, only=only)
        expected = self.best(probes, limit, least, only)
        assert [hit.event_id for hit in hits] == [event for event, _ in expected]
        np.testing.assert_allclose(
            [hit.similarity for hit in hits], [s for _, s in expected], atol=1e-5, rtol=0
        )


@pytest.fixture
def truth(monkeypatch) -> Truth:
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 150)
    monkeypatch.setattr(index_module, "FIRST_LOOK", 4)
    return Truth(SearchIndex(SIZE))


def fill(truth: Truth, rng: np.random.Generator, n: int = 400) -> None:
    ids = list(range(1, n + 1))
    truth.put(
        ids,
        [1 + i // 2 for i in ids],  # two sightings of each stay
        [f"camera{i % 3}" for i in ids],
        [float(i) for i in ids],
        units(rng, n),
    )


def test_an_empty_index_finds_nothing(truth: Truth) -> None:
    truth.check(units(np.random.default_rng(0), 1))
    assert len(truth.index) == 0


@pytest.mark.parametrize(
    "only",
    [
        Filter(),
        Filter(camera="camera1"),
        Filter(camera="camera9"),
        Filter(after=150.0),
        Filter(camera="camera2", after=100.0, before=160.0),
        Filter(before=0.5),
    ],
)
@pytest.mark.parametrize("least", [-1.0, 0.3, 0.99])
def test_a_search_finds_what_comparing_all_finds(truth: Truth, only: Filter, least: float) -> None:
    rng = np.random.default_rng(1)
    fill(truth, rng)
    for probe in units(rng, 8):
        truth.check(probe[np.newaxis], least=least, only=only)
    truth.check(units(rng, 3), limit=7, least=least, only=only)


def test_a_stay_seen_many_times_is_one_result_beside_others(truth: Truth) -> None:
    rng = np.random.default_rng(2)
    fill(truth, rng)
    face = units(rng, 1)
    crowd = face + 0.01 * rng.standard_normal((200, SIZE)).astype(np.float32)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    ids = list(range(1000, 1200))
    truth.put(ids, [900] * 200, ["door"] * 200, [500.0] * 200, crowd)
    truth.check(face, limit=4)


def test_changes_are_searched_at_once(truth: Truth) -> None:
    rng = np.random.default_rng(3)
    fill(truth, rng)
    faces = units(rng, 40)
    truth.remove([1, 400, 200, 77, 5000])
    truth.put([7, 500], [7, 500], ["yard", "yard"], [1.0, 2.0], faces[:2])  # one replaced, one new
    truth.remove(list(range(20, 120)))
    assert len(truth.index) == len(truth.rows)
    assert set(truth.index.ids().tolist()) == set(truth.rows)
    for face in faces:
        truth.check(face[np.newaxis])
        truth.check(face[np.newaxis], only=Filter(camera="yard"))


def test_an_erased_vector_is_not_in_memory(truth: Truth) -> None:
    rng = np.random.default_rng(4)
    fill(truth, rng, 100)
    index = truth.index
    held = index._rows._codes(index._rows._blocks[0])
    erased = held[index.ids().tolist().index(60)].copy()
    truth.remove([60])
    left = np.concatenate([index._rows._codes(block) for block in index._rows._blocks])
    assert len(left) == 99
    assert not (left == erased).all(axis=1).any()


def test_strangers_need_few_reads(truth: Truth) -> None:
    rng = np.random.default_rng(5)
    fill(truth, rng)
    truth.check(units(rng, 1), least=0.95)
    assert truth.n_fetched <= 4
