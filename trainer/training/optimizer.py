"""SGD as the reference does it, and learning rates as pure functions of the step."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.training.recipe import Recipe

ACTIVE_ROWS = "active_rows"  # attribute of a parameter: the rows that a step moves; None for all


class ReferenceSGD(torch.optim.Optimizer):
    """m = mom m - lr (g + wd w); w += m.

    The rate is inside the buffer, so a change of rate acts at once on new gradients only (torch's
    own SGD rescales the whole past). A parameter with `active_rows` is moved in those rows alone.

    Source: mx.optimizer.SGD, MXNet 1.9.1; Partial FC (An et al. 2021) for the rows.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "lr_mult": 1.0, "wd_mult": 1.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            whole = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                rows = getattr(parameter, ACTIVE_ROWS, None)
                if rows is None:
                    whole.append((parameter, parameter.grad, state["momentum"]))
                    continue
                part, buffer = parameter[rows], state["momentum"][rows]
                self._move(group, [part], [parameter.grad[rows]], [buffer])
                parameter[rows], state["momentum"][rows] = part, buffer
            if whole:
                self._move(group, *(list(column) for column in zip(*whole, strict=True)))

    @staticmethod
    def _move(
        group: dict[str, Any], weights: list[Tensor], grads: list[Tensor], buffers: list[Tensor]
    ) -> None:
        lr, decay = group["lr"] * group["lr_mult"], group["weight_decay"] * group["wd_mult"]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, grads, alpha=-lr)
        torch._foreach_add_(buffers, weights, alpha=-lr * decay)
        torch._foreach_add_(weights, buffers)


def parameter_groups(
    backbone: nn.Module, head: nn.Module, *, head_lr_mult: float, head_wd_mult: float
) -> list[dict[str, Any]]:
    """Return the backbone's and the head's parameters with their multipliers.

    The reference documents multipliers for its last layer, but they never took effect there:
    leave both at 1 to do as it did. Weight decay acts on every parameter, as it did there.
    """
    return [
        {"params": [p for p in backbone.parameters() if p.requires_grad]},
        {"params": list(head.parameters()), "lr_mult": head_lr_mult, "wd_mult": head_wd_mult},
    ]


def planned_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of an optimizer step by a recipe; the first step is 1."""
    plan = recipe.optimizer
    return learning_rate(
        step,
        kind=plan.schedule,
        lr=plan.lr,
        steps=plan.lr_steps,
        total=recipe.run.steps,
        warmup=plan.warmup,
    )


def learning_rate(
    step: int,
    *,
    kind: str,
    lr: float,
    steps: tuple[int, ...],
    total: int,
    warmup: int,
) -> float:
    """Return the learning rate of an optimizer step; the first step is 1.

    Args:
        step: counts from 1.
        kind: "steps": a tenth from each of `steps` on; "poly": linear to 0 at `total`; "cosine":
            half a cosine to 0 at `total`.
        lr: the base rate.
        steps: for "steps".
        total: optimizer steps in all, for "poly" and "cosine".
        warmup: the rate rises linearly over so many steps.
    """
    if step <= warmup:
        return lr * step / warmup
    if kind == "steps":
        return lr * 0.1 ** sum(step >= mark for mark in steps)
    done = min(max(step - 1 - warmup, 0) / max(total - warmup, 1), 1)
    return lr * (1 - done) if kind == "poly" else lr * 0.5 * (1 + math.cos(math.pi * done))
