import numpy as np
import pytest

from trainer.data.pairs import PairSet, write_bin
from trainer.errors import DataError
from trainer.verify import open_pairs


def no_detector():
    raise AssertionError("no photo may be read")


@pytest.mark.parametrize(
    ("folds", "fars", "expected"),
    [
        (10, None, r"few has 4 pairs for 10 folds \(lower --folds\)"),
        (2, [1e-3], r"few cannot tell TAR at FAR 0\.001: it has 2 impostor pairs"),
        (2, [0.0], r"FAR 0 must be above 0 and at most 1"),
    ],
)
def test_folds_and_fars_are_refused_before_anything_is_embedded(tmp_path, folds, fars, expected):
    same = np.array([True, False, True, False])
    write_bin(tmp_path / "few.bin", PairSet("few", [b"no image"] * 8, same))
    (tmp_path / "few.txt").write_text("A\t1\t2\nA\t1\tB\t1\nB\t1\t2\nB\t1\tC\t2\n")
    for name in ("few.bin", "few.txt"):
        with pytest.raises(DataError, match=expected):
            open_pairs(
                tmp_path / name,
                tmp_path / "no photos",
                no_detector,
                folds=folds,
                fars=fars,
                on_progress=lambda done, total: None,
            )
