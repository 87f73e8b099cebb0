import pytest

torch = pytest.importorskip("torch")

from trainer.backbones import build_backbone
from trainer.training.distributed import synchronize_batch_norms


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_synchronized_batch_norms_have_the_weights_under_the_same_names(kind):
    """A checkpoint of one is a checkpoint of the other; converting alone needs no GPU."""
    plain = build_backbone("y1", size=8, output="E")
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    made = synchronize_batch_norms(plain, torch.device(kind))
    after = made.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    norms = [m for m in made.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    names = {type(norm).__name__ for norm in norms}
    expected = {"SynchronizedBatchNorm1d", "SynchronizedBatchNorm2d"}
    assert names == (expected if kind == "cpu" else {"SyncBatchNorm"})
    trained = [name for name, p in made.named_parameters() if p.requires_grad]
    assert trained == [name for name, p in plain.named_parameters() if p.requires_grad]
