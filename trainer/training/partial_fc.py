"""A head whose classes are spread over the ranks, with optional sampling of classes in each step.

Every rank has ceil(C / world) classes and receives all ranks' embeddings; the softmax runs over all
shards together. With a rate below 1 the classes of the batch and random others are used.

Source: Partial FC (An et al. 2021), algorithm 1; the reference's train_parall.py.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from trainer.errors import RecipeError
from trainer.heads.classification import WEIGHT_SIGMA, Margin, Outcome, margin_logits, unit
from trainer.training.optimizer import ACTIVE_ROWS


def _world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    """All ranks' rows, in order; gradients of all shards come back summed.

    They are multiplied by the number of ranks, since DDP divides by it.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rank, world = _world()
        ctx.rank, ctx.world, ctx.n = rank, world, len(rows)
        if world == 1:
            return rows.clone()
        parts = [torch.empty_like(rows) for _ in range(world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        if ctx.world > 1:
            dist.all_reduce(grad)
        return grad[ctx.rank * ctx.n : (ctx.rank + 1) * ctx.n] * ctx.world


class _ShardedCrossEntropy(torch.autograd.Function):
    """Mean cross entropy of logits with columns spread over the ranks."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        _, world = _world()
        top = logits.amax(dim=1, keepdim=True)
        if world > 1:
            dist.all_reduce(top, dist.ReduceOp.MAX)
        powers = torch.exp(logits - top)
        total = powers.sum(dim=1, keepdim=True)
        rows = torch.nonzero(labels >= 0).squeeze(1)
        own = torch.zeros_like(top)
        own[rows, 0] = logits[rows, labels[rows]] - top[rows, 0]
        if world > 1:
            dist.all_reduce(total)
            dist.all_reduce(own)
        gradient = powers / total
        gradient[rows, labels[rows]] -= 1
        ctx.save_for_backward(gradient)
        return (torch.log(total) - own).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grads[0] / len(gradient)), None


def class_range(n_classes: int, rank: int, world: int) -> range:
    """Return the classes of a rank: ceil(C / world) each, the last ones fewer or none."""
    share = -(-n_classes // world)
    start = min(rank * share, n_classes)
    return range(start, min(start + share, n_classes))


class PartialHead(nn.Module):
    """This rank's classes.

    Raises:
        RecipeError: if there are too few classes for a rank to have any.

    Attributes:
        n_classes: of all ranks.
        own: the classes of this rank.
        weight: (classes of this rank, D). After each forward its `active_rows` are those that took
            part: the optimizer moves no others.
    """

    def __init__(
        self, n_classes: int, size: int, margin: Margin, *, rate: float, seed: int
    ) -> None:
        super().__init__()
        self.margin, self.rate = margin, rate
        rank, world = _world()
        self.n_classes, self.own = n_classes, class_range(n_classes, rank, world)
        if n_classes <= (world - 1) * -(-n_classes // world):
            filled = -(-n_classes // -(-n_classes // world))
            raise RecipeError(
                f"head.sharded: {n_classes} classes fill {filled} of {world} processes: start "
                f"{filled}, or leave head.sharded out"
            )
        # every rank draws all rows and keeps its own: the same start for any number of ranks
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(n_classes, size).normal_(0, WEIGHT_SIGMA, generator=generator)
        self.weight = nn.Parameter(weight[self.own.start : self.own.stop].clone())
        self.generator = torch.Generator().manual_seed(seed + rank)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Outcome:
        """Return the mean loss over all ranks' rows, and this rank's accuracy within its shard."""
        gathered = _Gather.apply(embeddings.float())
        everyone = self._gather_labels(labels) - self.own.start
        everyone[(everyone < 0) | (everyone >= len(self.weight))] = -1
        rows, local = self._sample(everyone)
        setattr(self.weight, ACTIVE_ROWS, rows if self.rate < 1 else None)
        cosine = functional.linear(unit(gathered), unit(self.weight[rows]))
        logits = margin_logits(cosine, local, self.margin)
        loss = _ShardedCrossEntropy.apply(logits, local)
        mine = local >= 0
        right = (logits.argmax(dim=1) == local)[mine].float()
        return Outcome(loss, right.mean() if len(right) else loss.new_zeros(()))

    def _gather_labels(self, labels: Tensor) -> Tensor:
        _, world = _world()
        if world == 1:
            return labels.clone()
        parts = [torch.empty_like(labels) for _ in range(world)]
        dist.all_gather(parts, labels)
        return torch.cat(parts)

    def _sample(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows that take part, ascending, and the labels among them."""
        n = len(self.weight)
        if self.rate >= 1:
            return torch.arange(n, device=labels.device), labels
        positive = torch.unique(labels[labels >= 0])
        draw = torch.rand(n, generator=self.generator).to(labels.device)
        draw[positive] = 2  # above any draw: the batch's own classes always take part
        wanted = max(len(positive), int(self.rate * n), 1)
        rows = torch.topk(draw, wanted).indices.sort().values
        local = torch.searchsorted(rows, labels.clamp(min=0))
        return rows, torch.where(labels >= 0, local, -1)
