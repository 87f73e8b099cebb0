import numpy as np
import pytest

from trainer.errors import DataError
from trainer.evaluation import retrieval as module
from trainer.evaluation.embedding import embed_files
from trainer.evaluation.retrieval import retrieval_lines, retrieve
from trainer.verify import retrieve_folders

NOBODY = np.zeros((0, 2))


def slow_rank(probe, person, gallery):
    """Sort the gallery by similarity, wrong images first among equals, and count to a right one."""
    if np.isnan(probe).any():
        return np.inf

    def cosine(x):
        return np.dot(x, probe) / np.sqrt(np.dot(x, x)) / np.sqrt(np.dot(probe, probe))

    ordered = sorted((-cosine(x), owner == person) for x, owner in gallery if not np.isnan(x).any())
    right = [place for place, (_, is_right) in enumerate(ordered, 1) if is_right]
    return right[0] if right else np.inf


def test_it_is_a_sort_in_plain_loops(monkeypatch):
    monkeypatch.setattr(module, "PROBES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(10, 6))
    ids, probe_ids = rng.permutation(np.arange(30) % 10), rng.integers(0, 10, 40)
    gallery = (centers[ids] + rng.normal(size=(30, 6))) * rng.uniform(1, 9, (30, 1))
    probes = centers[probe_ids] + rng.normal(size=(40, 6))
    others = rng.normal(size=(50, 6))
    gallery[ids == 4] = gallery[3] = others[5] = probes[[1, 2]] = np.nan
    found = retrieve(gallery, ids, probes, probe_ids, others, [1, 5, 20], target="t")
    pool = [*zip(gallery, ids, strict=True), *((x, None) for x in others)]
    slow = [slow_rank(p, who, pool) for p, who in zip(probes, probe_ids, strict=True)]
    assert found.places.tolist() == slow
    assert found.rates == {k: sum(s <= k for s in slow) / 40 for k in (1, 5, 20)}
    assert 0 < found.rates[1] < found.rates[5] < found.rates[20] < 1
    assert found.undetected == 2
    assert found.undetected_gallery == int(np.isnan(gallery[:, 0]).sum()) + 1


def test_a_tie_is_no_success():
    gallery = np.array([[1.0, 0], [2.0, 0]])
    one = np.array([[3.0, 0]])
    found = retrieve(gallery, np.array([0, 1]), one, np.array([0]), NOBODY, [1, 2], target="t")
    assert found.rates == {1: 0.0, 2: 1.0}
    assert retrieval_lines(found)[1:] == ["[t]Rank-1: 0.00000", "[t]Rank-2: 1.00000"]


def never(*_):
    raise AssertionError


def test_an_image_that_cannot_be_read_is_named_with_its_line(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"^tid\.txt, line 1: .*broken\.jpg"):
        embed_files([never], [broken], never, named_in=lambda i: f"tid.txt, line {i + 1}")


@pytest.fixture
def folders(tmp_path):
    for name in ("gallery/ada", "gallery/bob", "probes/ada", "others"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("gallery/ada/1.jpg", "gallery/bob/2.jpg", "probes/ada/3.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    return tmp_path


def search(folders, gallery="gallery", probes="probes", distractors=None):
    others = folders / distractors if distractors else None
    retrieve_folders(
        *([("m", never)], folders / gallery, folders / probes, others, never),
        ranks=[1],
        on_progress=never,
    )


def test_wrong_folders_are_refused_in_a_sentence(folders):
    with pytest.raises(DataError, match=r"cannot find the folder .*none"):
        search(folders, gallery="none")
    with pytest.raises(DataError, match=r"cannot find the folder .*none"):
        search(folders, distractors="none")
    with pytest.raises(DataError, match=r"others holds no photos .*NAME"):
        search(folders, gallery="others")
    with pytest.raises(DataError, match=r"others holds no photos$"):
        search(folders, distractors="others")
    with pytest.raises(DataError, match=r"1\.jpg is in the folders twice"):
        search(folders, probes="gallery")
    with pytest.raises(DataError, match=r"cannot read .*1\.jpg"):
        search(folders)
    (folders / "probes/eve").mkdir()
    (folders / "probes/eve/4.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"eve has photos, but .*gallery has none of eve"):
        search(folders)
