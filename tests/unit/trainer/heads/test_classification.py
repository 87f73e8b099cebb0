from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.shared_data import shared_data
from trainer.errors import RecipeError
from trainer.heads.classification import (
    GenderAgeHead,
    Margin,
    MarginHead,
    SoftmaxHead,
    margin_logits,
    margin_of,
    unit,
)
from trainer.heads.triplet import ALPHA, ALPHA_ANGLE, TripletLoss
from trainer.training.optimizer import ReferenceSGD
from trainer.training.partial_fc import PartialHead

MARGINS = {
    "nsoftmax": margin_of("nsoftmax", 0, 0, 0, 0),
    "arcface": margin_of("arcface", 0, 0, 0, 0),
    "cosface": margin_of("cosface", 0, 0, 0, 0),
    "combined": margin_of("combined", 0, 0, 0, 0),
    "sphere": margin_of("margin", 1.5, 0, 0, 64),
    "com_09_04_015": margin_of("margin", 0.9, 0.4, 0.15, 64),
}


@pytest.fixture
def golden():
    with np.load(shared_data("golden/loss_golden.npz")) as arrays:
        return {name: arrays[name] for name in arrays}


def inputs(golden):
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    return embeddings, torch.tensor(golden["y"]).long()


def grad_of(parameter: Any) -> np.ndarray:
    assert parameter.grad is not None
    return parameter.grad.numpy()


def head_of(name, golden, kind=MarginHead):
    if kind is PartialHead:
        head = PartialHead(5, 8, MARGINS[name], rate=1.0, seed=0)
    else:
        head = MarginHead(5, 8, MARGINS[name], generator=torch.Generator())
    head.weight.data = torch.tensor(golden["W"])
    return head


@pytest.mark.parametrize("kind", [MarginHead, PartialHead])
@pytest.mark.parametrize("name", MARGINS)
def test_margins_are_those_of_mxnet(golden, name, kind):
    embeddings, labels = inputs(golden)
    head = head_of(name, golden, kind)
    result = head(embeddings, labels)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(float(golden[f"{name}|ce"]), abs=1e-4)
    np.testing.assert_allclose(embeddings.grad, golden[f"{name}|grad_emb"], atol=1e-4)
    np.testing.assert_allclose(grad_of(head.weight), golden[f"{name}|grad_fc7_weight"], atol=1e-4)
    if kind is MarginHead:
        logits = head.logits(embeddings, labels).detach()
        np.testing.assert_allclose(logits, golden[f"{name}|logits"], atol=1e-4)


def test_softmax_is_that_of_mxnet(golden):
    embeddings, labels = inputs(golden)
    head = SoftmaxHead(5, 8, generator=torch.Generator())
    head.weight.data, head.bias.data = torch.tensor(golden["W"]), torch.tensor(golden["b"])
    result = head(embeddings, labels)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(float(golden["softmax|ce"]), abs=1e-4)
    np.testing.assert_allclose(embeddings.grad, golden["softmax|grad_emb"], atol=1e-5)
    np.testing.assert_allclose(grad_of(head.weight), golden["softmax|grad_fc7_weight"], atol=1e-5)
    np.testing.assert_allclose(grad_of(head.bias), golden["softmax|grad_fc7_bias"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "angular", "alpha"), [("triplet", False, ALPHA), ("atriplet", True, ALPHA_ANGLE)]
)
def test_triplets_are_those_of_mxnet(golden, name, angular, alpha):
    embeddings, labels = inputs(golden)
    result = TripletLoss(angular=angular, alpha=alpha)(embeddings, labels)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(float(golden[f"{name}|loss"][0]), abs=1e-5)
    np.testing.assert_allclose(embeddings.grad, golden[f"{name}|grad_emb"], atol=1e-5)


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS)
@pytest.mark.parametrize("cosine", [1.0, 1.0000001, -1.0, -1.0000001, 0.0])
def test_no_angle_gives_nan(margin, cosine):
    cosines = torch.full((2, 3), cosine, requires_grad=True)
    logits = margin_logits(cosines, torch.tensor([0, 2]), margin)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(cosines.grad).all()


def test_a_zero_embedding_stays_zero_with_a_finite_gradient():
    x = torch.zeros(1, 4, requires_grad=True)
    unit(x).sum().backward()
    assert unit(x).eq(0).all()
    assert torch.isfinite(x.grad).all()


def test_the_gradient_is_exact():
    torch.manual_seed(0)
    cosine = (torch.rand(4, 5, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    labels = torch.tensor([0, 4, -1, 2])
    margin = Margin(2, 1.1, 0.3, 0.1)
    assert torch.autograd.gradcheck(lambda c: margin_logits(c, labels, margin), cosine)


def test_sub_centres_take_the_nearest():
    head = MarginHead(2, 2, MARGINS["nsoftmax"], centres=2, generator=torch.Generator())
    head.weight.data = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    logits = head.logits(torch.tensor([[0.0, 3.0]]), torch.tensor([0]))
    np.testing.assert_allclose(logits.detach(), [[64, 0]], atol=1e-5)


def test_a_sample_of_classes_holds_the_batch_and_moves_no_others():
    head = PartialHead(50, 4, MARGINS["arcface"], rate=0.2, seed=3)
    before = head.weight.detach().clone()
    optimizer = ReferenceSGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    labels = torch.tensor([7, 7, 31])
    head(torch.randn(3, 4), labels).loss.backward()
    rows = vars(head.weight)["active_rows"]
    assert len(rows) == 10
    assert {7, 31} <= set(rows.tolist())
    optimizer.step()
    moved = (head.weight != before).any(dim=1)
    assert set(torch.nonzero(moved).squeeze(1).tolist()) == set(rows.tolist())


def test_gender_and_age():
    head = GenderAgeHead()
    logits = torch.zeros(3, 202, requires_grad=True)
    labels = torch.tensor([[1, 30], [9999, 200], [0, 0]])
    result = head(logits, labels)
    assert result.loss.item() == pytest.approx(101 * np.log(2), rel=1e-5)
    result.loss.backward()
    assert logits.grad[1, :2].eq(0).all()
    # at least i + 1 years old: steps 0..29 want the second of the two numbers
    assert (logits.grad[0, 2:].reshape(100, 2)[:30, 1] < 0).all()
    assert (logits.grad[0, 2:].reshape(100, 2)[30:, 1] > 0).all()
    only_unknown = head(logits, torch.tensor([[9999, 3]]).expand(3, 2))
    assert only_unknown.accuracy.item() == 0


def test_an_unknown_loss_is_named():
    with pytest.raises(RecipeError, match=r"unknown head\.loss 'arc'"):
        margin_of("arc", 0, 0, 0, 0)


def test_triplets_need_thirds():
    with pytest.raises(ValueError, match="multiple of 3"):
        TripletLoss(angular=False, alpha=0.3)(torch.zeros(4, 2), torch.zeros(4))
