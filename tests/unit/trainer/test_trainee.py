import pytest

torch = pytest.importorskip("torch")

from trainer.recipe import read_recipe
from trainer.trainee import Trainee


def trainee_of(*settings):
    recipe = read_recipe("tiny", ["backbone.size=8", *settings])
    return Trainee(recipe, 3, torch.device("cpu"), open_teacher=lambda name: None)


def test_the_average_follows_weights_and_statistics_alike():
    trainee = trainee_of("run.ema=0.75")
    before = {name: value.clone() for name, value in trainee.ema.state_dict().items()}
    with torch.no_grad():
        for value in trainee.backbone.state_dict().values():
            value.add_(4)
    trainee.average()
    for name, value in trainee.ema.state_dict().items():
        moved = 4 if name.endswith("num_batches_tracked") else 1  # a quarter of the way
        torch.testing.assert_close(value, before[name] + moved, msg=name)
    assert trainee.evaluated is trainee.ema


def test_clipping_brings_the_norm_of_all_gradients_down_together():
    trainee = trainee_of()
    parameters = [p for p in trainee.network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    trainee.clip(2.0)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    assert norm.item() == pytest.approx(2, rel=1e-4)
    trainee.clip(5.0)  # already below: left as it is
    again = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    assert again.item() == pytest.approx(2, rel=1e-4)
