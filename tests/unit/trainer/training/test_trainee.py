from pathlib import Path
from typing import NoReturn

import pytest

torch = pytest.importorskip("torch")

from trainer.training.checkpoint import save_checkpoint
from trainer.training.loop import _forward_backward
from trainer.training.recipe import HeadSection, read_recipe
from trainer.training.trainee import Trainee


def recipe_of(*settings):
    return read_recipe("tiny", ["backbone.size=8", "run.precision=f32", *settings])


def no_teacher(head: HeadSection) -> NoReturn:
    raise AssertionError(head.teacher)


def trainee_of(*settings):
    recipe = recipe_of(*settings)
    return Trainee(recipe, 3, torch.device("cpu"), open_teacher=no_teacher)


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
    # as checkpoints have always held it
    assert trainee.state()["ema"].keys() == trainee.backbone.state_dict().keys()


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


def batch_of(n):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 112, 112, 3), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(n) % 3


@pytest.mark.parametrize("is_last", [True, False])
def test_activations_lie_as_the_recipe_says(is_last):
    trainee = trainee_of(f"run.channels_last={str(is_last).lower()}")
    layout = torch.channels_last if is_last else torch.contiguous_format
    seen = []

    def look(module, inputs, output):
        seen.append(output)

    for name in ("conv_1", "conv_5", "conv_9"):
        trainee.backbone.get_submodule(name).conv2d.register_forward_hook(look)
    trainee.network(*batch_of(3))
    assert len(seen) == 3
    for output in seen:
        assert output.is_contiguous(memory_format=layout)
        assert not output.is_contiguous(
            memory_format=torch.contiguous_format if is_last else torch.channels_last
        )


def test_two_accumulated_batches_have_the_gradient_of_the_doubled_batch():
    pixels, labels = batch_of(8)
    gradients = []
    for k in (1, 2):
        settings = (f"optimizer.accumulate={k}", f"run.batch={8 // k}")
        trainee = trainee_of(*settings)
        trainee.network.eval()  # a batch norm in training would see another batch
        for some, of in zip(pixels.chunk(k), labels.chunk(k), strict=True):
            _forward_backward(recipe_of(*settings), trainee, some, of, Path())
        gradients.append([p.grad for p in trainee.network.parameters() if p.grad is not None])
    assert len(gradients[0]) > 50
    for whole, parts in zip(*gradients, strict=True):
        # sums in another order, among numbers of this size
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-3 * whole.abs().max().item())


def test_in_fp16_an_overflow_moves_nothing_and_halves_the_scale():
    recipe = recipe_of("run.precision=fp16", "run.batch=6")
    trainee = trainee_of("run.precision=fp16", "run.batch=6")
    scaler, weight = trainee.scaler, trainee.backbone.get_submodule("pre_fc1").weight
    moved = []
    for _ in range(9):  # the first scale, 65536, is too much for this network
        before, scale = weight.detach().clone(), scaler.get_scale()
        pixels, labels = batch_of(6)
        _forward_backward(recipe, trainee, pixels, labels, Path())
        scaler.unscale_(trainee.optimizer)
        gradients = [p.grad for p in trainee.network.parameters() if p.grad is not None]
        is_finite = all(bool(torch.isfinite(g).all()) for g in gradients)
        trainee.clip(5)
        scaler.step(trainee.optimizer)
        scaler.update()
        trainee.optimizer.zero_grad(set_to_none=True)
        assert torch.equal(weight, before) != is_finite
        assert scaler.get_scale() == (scale if is_finite else scale / 2)
        assert all(bool(torch.isfinite(p).all()) for p in trainee.network.parameters())
        moved.append(is_finite)
    assert not moved[0]
    assert moved[-1]


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_a_pretrained_network_brings_its_average_and_its_classifier(tmp_path, caplog, sharded):
    before = trainee_of("run.ema=0.75")
    with torch.no_grad():
        for value in before.backbone.parameters():
            value.add_(4)
        before.head.weight.fill_(0.5)
    before.average()
    path = tmp_path / "best.pt"
    save_checkpoint(path, before.state())
    with caplog.at_level("INFO", "trainer.training.trainee"):
        after = trainee_of(f"run.pretrained={path}", f"head.sharded={sharded}")
        other = trainee_of(f"run.pretrained={path}", "head.loss=softmax")
    for name, value in after.backbone.named_parameters():
        assert torch.equal(value, before.ema.get_parameter(name)), name
    assert torch.equal(after.head.weight, torch.full((3, 8), 0.5))
    assert not torch.equal(other.head.weight, torch.full((3, 8), 0.5))
    assert [message.partition(" is ")[2] for message in caplog.messages] == [
        "kept: 3 classes",
        "not kept: it has 3 classes or another kind, the set has 3",
    ]
