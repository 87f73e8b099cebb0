import numpy as np
import pytest

from gallery import index as index_module
from gallery import rows as rows_module
from gallery.index import TemplateIndex
from gallery.rows import FlatRows, QuantizedRows

SIZE = 128


def units(rng: np.random.Generator, n: int, size: int = SIZE) -> np.ndarray:
    rows = rng.standard_normal((n, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Truth:
    """The obvious gallery: a dict and a loop."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, np.ndarray]] = {}

    def fetch(self, photo_ids: list[int]) -> dict[int, np.ndarray]:
        return {p: self.rows[p][1] for p in photo_ids if p in self.rows}

    def best(self, probe: np.ndarray, n: int) -> list[tuple[int, float]]:
        best: dict[int, float] = {}
        for person, row in self.rows.values():
            best[person] = max(best.get(person, -2.0), float(row @ probe))
        return sorted(best.items(), key=lambda item: -item[1])[:n]


@pytest.fixture(params=["flat", "int8"])
def kind(request, monkeypatch):
    monkeypatch.setattr(rows_module, "BLOCK_ROWS", 200)
    monkeypatch.setattr(index_module, "FIRST_LOOK", 4)
    monkeypatch.setattr(index_module, "FLAT_ROWS", 0 if request.param == "int8" else 10**9)
    return request.param


def filled(truth: Truth, embeddings: np.ndarray, n_people: int) -> TemplateIndex:
    index = TemplateIndex(embeddings.shape[1], truth.fetch)
    ids = np.arange(1, len(embeddings) + 1)
    persons = ids % n_people
    index.add(ids, persons, embeddings)
    truth.rows.update(
        {int(i): (int(p), e) for i, p, e in zip(ids, persons, embeddings, strict=True)}
    )
    return index


def assert_equal(index: TemplateIndex, truth: Truth, probes: np.ndarray, n: int) -> None:
    for probe, found in zip(probes, index.best_persons(probes, n), strict=True):
        expected = truth.best(probe, n)
        assert [p for p, _ in found] == [p for p, _ in expected]
        np.testing.assert_allclose(
            [s for _, s in found], [s for _, s in expected], atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("n_people", [1, 3, 150])
@pytest.mark.parametrize("size", [128, 512])
def test_every_kind_answers_like_the_obvious_loop(kind, n_people, size):
    rng = np.random.default_rng(1)
    truth = Truth()
    embeddings = units(rng, 700, size)
    index = filled(truth, embeddings, n_people)
    assert index.kind == kind
    near = embeddings[rng.permutation(700)[:20]] + 0.03 * rng.standard_normal((20, size))
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    assert_equal(index, truth, np.concatenate([near, units(rng, 20, size)]), 2)


def test_every_kind_answers_rightly_while_rows_come_and_go(kind):
    rng = np.random.default_rng(2)
    truth = Truth()
    index = filled(truth, units(rng, 450), 60)
    for step in range(30):
        gone = rng.choice(list(truth.rows), 11, replace=False)
        index.remove(gone)
        for photo_id in gone.tolist():
            del truth.rows[photo_id]
        new = units(rng, 7)
        ids = np.arange(7) + 1000 + 7 * step
        persons = rng.integers(0, 60, 7)
        index.add(ids, persons, new)
        truth.rows.update({int(i): (int(p), e) for i, p, e in zip(ids, persons, new, strict=True)})
        assert len(index) == len(truth.rows)
        assert_equal(index, truth, units(rng, 3), 2)
    assert sorted(index.photo_ids().tolist()) == sorted(truth.rows)
    index.remove(np.array(list(truth.rows)))
    assert len(index) == 0
    assert index.best_persons(units(rng, 2), 2) == [[], []]


def test_the_least_likely_vectors_are_answered_rightly(kind):
    # One number is all there is: the coarsest that int8 can get.
    truth = Truth()
    embeddings = np.concatenate([np.eye(SIZE), -np.eye(SIZE)]).astype(np.float32)
    index = filled(truth, embeddings, 256)
    assert_equal(index, truth, embeddings[:40] + np.float32(0.0), 1)


def test_many_copies_of_one_person_do_not_hide_the_next(kind):
    rng = np.random.default_rng(3)
    truth = Truth()
    base = units(rng, 1)
    crowd = base + 0.002 * rng.standard_normal((500, SIZE)).astype(np.float32)
    crowd = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
    index = filled(truth, np.concatenate([crowd, units(rng, 20)]), 1)
    index.remove(np.arange(501, 521))
    for photo_id in range(501, 521):
        row = truth.rows[photo_id][1]
        truth.rows[photo_id] = (photo_id, row)
        index.add(np.array([photo_id]), np.array([photo_id]), row[np.newaxis])
    assert_equal(index, truth, base, 2)


def test_a_template_erased_on_disk_first_is_not_found(kind):
    rng = np.random.default_rng(4)
    truth = Truth()
    embeddings = units(rng, 300)
    index = filled(truth, embeddings, 300)
    del truth.rows[5]
    found = index.best_persons(embeddings[4:5], 1)[0]
    assert found[0][0] == (5 if kind == "flat" else truth.best(embeddings[4], 1)[0][0])


def test_removing_what_is_not_there_changes_nothing(kind):
    rng = np.random.default_rng(5)
    index = filled(Truth(), units(rng, 10), 10)
    index.remove(np.array([77, 78]))
    index.remove(np.empty(0, np.int64))
    assert len(index) == 10


def test_a_growing_index_changes_kind_and_keeps_its_answers(monkeypatch):
    monkeypatch.setattr(index_module, "FLAT_ROWS", 100)
    rng = np.random.default_rng(6)
    truth = Truth()
    embeddings = units(rng, 150)
    index = filled(truth, embeddings[:100], 50)
    assert index.kind == "flat"
    index.add(np.arange(101, 151), np.arange(50), embeddings[100:])
    truth.rows.update({i: (i - 101, embeddings[i - 1]) for i in range(101, 151)})
    assert index.kind == "int8"
    assert_equal(index, truth, units(rng, 10), 2)


def test_erased_rows_leave_nothing_in_memory():
    rows = units(np.random.default_rng(7), 3)
    flat, quantized = FlatRows(SIZE), QuantizedRows(SIZE)
    for kind in (flat, quantized):
        kind.append(rows)
        kind.replace_by_last(0)
    np.testing.assert_array_equal(flat.held(), rows[[2, 1]])
    assert not flat._rows[2:].any()


def test_the_stated_error_of_int8_holds():
    rng = np.random.default_rng(8)
    embeddings, probes = units(rng, 1000), units(rng, 50)
    rows = QuantizedRows(SIZE)
    rows.append(embeddings)
    found, similarities, slack = rows.nearest(probes, 1000)
    exact = np.take_along_axis(probes @ embeddings.T, found, 1)
    assert (abs(similarities - exact) <= slack[:, np.newaxis]).all()
    assert slack.max() < 0.03


@pytest.mark.parametrize("expected", [0, 30_000], ids=["flat", "int8"])
def test_a_copy_is_changed_without_its_original(expected):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((50, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.arange(1, 51)
    held = dict(zip(ids.tolist(), rows, strict=True))
    index = TemplateIndex(16, lambda wanted: {i: held[i] for i in wanted}, expected=expected)
    index.add(ids[:40], ids[:40], rows[:40])
    changed = index.copy()
    changed.remove(ids[:10])
    changed.add(ids[40:], ids[40:], rows[40:])
    assert index.kind == changed.kind
    for number, there, not_there in ((5, index, changed), (45, changed, index)):
        probe = rows[number - 1 : number]
        assert there.best_persons(probe, 1)[0][0][0] == number
        assert not_there.best_persons(probe, 1)[0][0][0] != number
    index.wipe(ids[:10])
    assert index.photo_ids().tolist() == ids[:40].tolist()
    if expected == 0:
        assert index.best_persons(rows[4:5], 1)[0][0][0] != 5
