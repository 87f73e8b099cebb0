import numpy as np
import pytest

from trainer.errors import DataError
from trainer.evaluation.verification import (
    THRESHOLDS,
    cross_validate,
    lines_of,
    operating_points,
    pair_distances,
    roc,
    unit_rows,
    verify_embeddings,
)


def slow_accuracy(distances, is_same, folds):
    """The reference's protocol in plain loops."""
    n = len(distances)
    sizes = [n // folds + (i < n % folds) for i in range(folds)]
    accuracies, start = [], 0
    for size in sizes:
        test = list(range(start, start + size))
        train = test if folds == 1 else [i for i in range(n) if i not in test]
        start += size
        best, best_accuracy = 0.0, -1.0
        for t in np.arange(0, 4, 0.01):
            accuracy = sum((distances[i] < t) == is_same[i] for i in train) / len(train)
            if accuracy > best_accuracy:
                best, best_accuracy = t, accuracy
        accuracies.append(sum((distances[i] < best) == is_same[i] for i in test) / size)
    return np.mean(accuracies), np.std(accuracies)


@pytest.mark.parametrize(("n", "folds"), [(23, 10), (20, 10), (7, 3), (5, 1)])
def test_it_is_the_protocol_in_plain_loops(n, folds):
    rng = np.random.default_rng(n)
    is_same = rng.random(n) < 0.5
    distances = np.clip(np.where(is_same, 0.8, 1.6) + rng.normal(0, 0.5, n), 0, 4)
    accuracy, _ = cross_validate(distances, is_same, folds)
    assert (accuracy.mean, accuracy.std) == pytest.approx(slow_accuracy(distances, is_same, folds))


def test_thresholds_are_four_hundred():
    assert len(THRESHOLDS) == 400
    assert THRESHOLDS[-1] == pytest.approx(3.99)


def pairs(n=60, dimensions=8):
    rng = np.random.default_rng(1)
    is_same = np.arange(n) % 2 == 0
    a = rng.normal(size=(n, dimensions))
    b = np.where(is_same[:, None], a + rng.normal(0, 0.2, a.shape), rng.normal(size=a.shape))
    plain = np.stack([a, b], axis=1).reshape(2 * n, dimensions) * 3
    return plain, plain + 0.01, is_same


def test_a_result_says_all_of_the_contract():
    plain, mirrored, is_same = pairs()
    result = verify_embeddings(plain, mirrored, is_same, target="t")
    lengths = np.linalg.norm(np.concatenate([plain, mirrored]), axis=1)
    assert result.xnorm == pytest.approx(lengths.mean())
    assert (result.n_pairs, result.undetected) == (60, 0)
    assert result.accuracy_flip.mean > 0.9
    assert lines_of(result, 7)[0] == f"[t][7]XNorm: {result.xnorm:f}"
    assert lines_of(result)[2].startswith("[t]Accuracy-Flip: 0.9")
    assert result.points == ()  # 30 impostors allow no rate below one in three


def test_an_undetected_face_is_an_error_whatever_the_threshold():
    plain, mirrored, is_same = pairs()
    clean = verify_embeddings(plain, mirrored, is_same, target="t", folds=1)
    for pair in (0, 1):  # a genuine pair, an impostor
        hurt, hurt2 = plain.copy(), mirrored.copy()
        hurt[2 * pair] = hurt2[2 * pair] = np.nan
        result = verify_embeddings(hurt, hurt2, is_same, target="t", folds=1)
        assert result.undetected == 1
        assert result.accuracy_flip.mean <= clean.accuracy_flip.mean - 1 / 60 + 1e-9 or (
            clean.accuracy_flip.mean < 1
        )


def test_tar_at_far_lets_no_more_impostors_pass():
    is_same = np.array([True] * 4 + [False] * 100)
    distances = np.concatenate([[0.1, 0.5, 1.05, np.nan], np.linspace(1, 2, 100)])
    (point,) = operating_points(distances, is_same, [0.1], target="t")
    assert point.impostors == 100
    assert point.tar == 0.75  # the undetected one is missed
    accepted = (distances[~is_same] < 2 - 2 * point.threshold).mean()
    assert accepted <= 0.1
    assert [p.far for p in operating_points(distances, is_same, None, target="t")] == [0.1]


def test_a_far_that_the_data_cannot_tell_is_refused():
    is_same = np.array([True, False])
    with pytest.raises(DataError, match="it has 1 impostor pairs, that takes 10000"):
        operating_points(np.array([0.1, 2.0]), is_same, [1e-3], target="t")


def test_too_few_pairs_are_refused():
    with pytest.raises(DataError, match="1 pairs for 10 folds"):
        verify_embeddings(np.ones((2, 2)), np.ones((2, 2)), np.array([True]), target="t")
    with pytest.raises(ValueError, match=r"plain must be \(4, D\)"):
        verify_embeddings(
            np.ones((2, 2)), np.ones((2, 2)), np.array([True, False]), target="t", folds=1
        )


def test_zero_rows_stay_zero_and_roc_rises():
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    assert pair_distances(np.array([[1.0, 0], [0, 1.0]])).tolist() == [2]
    far, tar = roc(np.array([0.1, 0.2, 1.0, 2.0]), np.array([True, True, False, False]))
    assert (far[0], far[-1], tar[-1]) == (0, 1, 1)
    assert (np.diff(far) >= 0).all()
    assert (np.diff(tar) >= 0).all()
    assert len(roc(np.zeros(0), np.zeros(0, bool))[0]) == 0
