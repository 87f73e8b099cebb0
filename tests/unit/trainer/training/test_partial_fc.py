import pytest

pytest.importorskip("torch")

from trainer.errors import RecipeError
from trainer.heads.classification import Margin
from trainer.training import partial_fc
from trainer.training.partial_fc import PartialHead

MARGIN = Margin(16, 1, 0, 0.1)


@pytest.mark.parametrize(
    ("n_classes", "world", "filled"), [(6, 4, 3), (4, 3, 2), (1, 2, 1), (10, 7, 5)]
)
def test_more_processes_than_the_classes_fill_are_refused(monkeypatch, n_classes, world, filled):
    for rank in range(world):
        monkeypatch.setattr(partial_fc, "_world", lambda rank=rank: (rank, world))
        with pytest.raises(
            RecipeError,
            match=rf"head\.sharded: {n_classes} classes fill {filled} of {world} processes: start "
            rf"{filled}, or leave head\.sharded out",
        ):
            PartialHead(n_classes, 8, MARGIN, rate=1, seed=0)
    for rank in range(filled):
        monkeypatch.setattr(partial_fc, "_world", lambda rank=rank: (rank, filled))
        assert len(PartialHead(n_classes, 8, MARGIN, rate=1, seed=0).own)
