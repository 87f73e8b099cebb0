import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.unit.trainer.test_onnx_network import backbone, card
from trainer.adapt.adapting import pick_blend
from trainer.adapt.people import Crops
from trainer.adapt.tuning import Tuning, set_blend, tune
from trainer.backbones.onnx_network import OnnxNetwork
from trainer.errors import TrainingError
from trainer.export.onnx import onnx_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return onnx_of(backbone("m025"), 16)


@pytest.fixture
def learned():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (12, 7, 7, 3))
    images = np.kron(blocks, np.ones((1, 16, 16, 1))).astype(np.uint8)
    return Crops(images, np.repeat(["a", "b", "c", "d"], 3))


def test_degraded_crops_come_closer_to_clean_ones(model, learned):
    twin = OnnxNetwork(model, card()).eval()
    losses = []
    for steps in (1, 30):
        network = OnnxNetwork(model, card()).eval()
        tune(network, learned, Tuning(steps=steps, batch=8), device=CPU)
        losses.append(_distance(network, twin, learned))
    assert losses[1] < losses[0]


def _distance(network, base, learned):
    """Return the mean of 1 - cosine of blurred crops to the base's embeddings of the clean ones."""
    pixels = torch.from_numpy(learned.images).permute(0, 3, 1, 2).float()
    blurred = torch.nn.functional.avg_pool2d(pixels, 9, 1, 4, count_include_pad=False)
    with torch.no_grad():
        return float((1 - torch.cosine_similarity(network(blurred), base(pixels))).mean())


def test_the_same_seed_learns_the_same_and_only_what_may_move(model, learned):
    states = []
    for seed in (0, 0, 1):
        network = OnnxNetwork(model, card()).eval()
        before = tune(network, learned, Tuning(steps=2, batch=4, seed=seed), device=CPU)
        states.append({name: w.detach().clone() for name, w in network.weights().items()})
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    base = OnnxNetwork(model, card()).weights()
    moved = {name for name in first if not torch.equal(first[name], base[name])}
    assert moved <= before.keys()
    kinds = network.kinds
    assert not any(kinds[name] == "dense" for name in before)
    filters = [name for name in kinds if kinds[name] == "filter"]
    assert [name for name in filters if name in before] == filters[: (len(filters) + 1) // 2]


def test_a_blend_lies_between_base_and_tuned(model, learned):
    network = OnnxNetwork(model, card()).eval()
    before = tune(network, learned, Tuning(steps=2, batch=4), device=CPU)
    tuned = {name: network.weights()[name].detach().clone() for name in before}
    for share in (0.0, 0.25, 1.0):
        set_blend(network, before, tuned, share)
        for name, weight in before.items():
            wanted = weight + share * (tuned[name] - weight)
            torch.testing.assert_close(network.weights()[name].detach(), wanted)


def test_a_loss_that_is_not_finite_stops_with_the_next_step(model, learned):
    network = OnnxNetwork(model, card()).eval()
    with pytest.raises(TrainingError, match=r"not finite at step \d+: lower the learning rate"):
        tune(network, learned, Tuning(steps=30, batch=4, rate=1e30), device=CPU)


def test_progress_counts_to_its_end(model, learned):
    seen = []
    tune(
        OnnxNetwork(model, card()).eval(),
        learned,
        Tuning(steps=2, batch=4),
        device=CPU,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (2 * 12 + 8, 2 * 12 + 8)


@pytest.mark.parametrize(
    ("gains", "blend"),
    [
        ([(0.00, 0.01), (0.00, 0.03), (0.00, 0.031), (0.00, 0.032)], 0.5),  # nearly the best
        ([(0.00, 0.01), (-0.01, 0.03), (0.00, 0.02), (-0.02, 0.04)], 0.75),  # loses nothing
        ([(-0.01, 0.01), (-0.02, 0.03), (-0.03, 0.04), (-0.04, 0.05)], 0.25),  # all lose
        ([(0.00, -0.03), (0.00, -0.02), (0.00, -0.01), (0.00, -0.04)], 0.75),  # none gains
    ],
)
def test_the_smallest_blend_that_gains_nearly_as_much_is_chosen(gains, blend):
    shares = (0.25, 0.5, 0.75, 1.0)
    choices = [
        {"blend": share, "clean": clean, "degraded": degraded}
        for share, (clean, degraded) in zip(shares, gains, strict=True)
    ]
    assert pick_blend(choices) == blend
