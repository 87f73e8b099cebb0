from contextlib import closing

import numpy as np
import pytest

for name in ("torch", "matplotlib", "tensorboardX"):
    pytest.importorskip(name)

from trainer.evaluation.verification import verify_embeddings
from trainer.training.progress import Verified
from trainer.training.run_log import RunLog


def result(is_right):
    """Verify four pairs of unit vectors: all right, or all wrong."""
    same = np.tile([True, False], 2)
    near = np.tile([1.0, 0.0], (4, 1))
    far = np.tile([0.0, 1.0], (4, 1))
    second = np.where((same == is_right)[:, None], near, far)
    rows = np.stack([near, second], axis=1).reshape(8, 2)
    return verify_embeddings(rows, rows, same, target="four", folds=2)


def test_the_highest_accuracy_is_one_that_best_pt_can_hold(tmp_path, caplog):
    """The verification before training does not count."""
    good, bad = result(True), result(False)
    assert good.accuracy_flip.mean > bad.accuracy_flip.mean
    with (
        caplog.at_level("INFO", "trainer.training.run_log"),
        closing(RunLog(tmp_path, keep_to=0, highest=0, now=lambda: 1.0)) as log,
    ):
        log.add(Verified(0, (good,), is_best=False))
        log.add(Verified(5, (bad,), is_best=True))
    highest = [message for message in caplog.messages if "Highest" in message]
    assert highest == [f"[5]Accuracy-Highest: {bad.accuracy_flip.mean:1.5f}"]
