"""What is trained: backbone, head, optimizer, and all that a checkpoint must hold of them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainer.backbones import BACKBONES, build_backbone
from trainer.data.pairs import PairSet
from trainer.evaluation.embedding import Embed, embed_pairs, torch_embed
from trainer.evaluation.verification import Verification, verify_embeddings
from trainer.heads.classification import GenderAgeHead, MarginHead, Outcome, SoftmaxHead, margin_of
from trainer.heads.triplet import ALPHA, ALPHA_ANGLE, TripletLoss
from trainer.training.checkpoint import State, load_state, load_weights, read_checkpoint
from trainer.training.distill import DistillHead
from trainer.training.distributed import average_gradients, synchronize_batch_norms
from trainer.training.optimizer import ReferenceSGD, parameter_groups
from trainer.training.partial_fc import PartialHead
from trainer.training.recipe import HeadSection, Recipe
from trainer.training.shards import classes_of

logger = logging.getLogger(__name__)

FOLDS = 10  # of the field's protocol
GENDER_AGE_SIZE = 202  # 2 for gender, 2 for each of 100 years


class Network(nn.Module):
    """Backbone and head in one call, as DDP requires; pixels get the weights' memory format."""

    def __init__(self, backbone: nn.Module, head: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.backbone, self.head, self.layout = backbone, head, layout

    def forward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the accuracy of (B, 112, 112, 3) pixels of 0..255."""
        targets = labels
        if isinstance(self.head, DistillHead):
            targets = pixels = self.head.vary(pixels)
        # permuted crops lie as channels_last does, and convolutions follow their input
        images = pixels.permute(0, 3, 1, 2).float().contiguous(memory_format=self.layout)
        embeddings = self.backbone(images)
        with torch.autocast(images.device.type, enabled=False):
            outcome: Outcome = self.head(embeddings.float(), targets)
        return outcome.loss, outcome.accuracy


class Trainee:
    """A network in training on one device.

    Attributes:
        backbone: raw pixels to embeddings.
        network: backbone and head, to be called for loss and accuracy.
        optimizer: of both.
        scaler: of gradients in fp16; does nothing otherwise.
        device: where it is.
    """

    def __init__(
        self,
        recipe: Recipe,
        n_classes: int,
        device: torch.device,
        *,
        open_teacher: Callable[[HeadSection], Embed],
    ) -> None:
        run = recipe.run
        torch.manual_seed(run.seed)
        size = GENDER_AGE_SIZE if recipe.head.loss == "genderage" else recipe.backbone.size
        backbone = build_backbone(
            recipe.backbone.name,
            size=size,
            output=recipe.backbone.output,
            act=recipe.backbone.act,
            se=recipe.backbone.se,
            seed=run.seed,
        )
        size = size or BACKBONES[recipe.backbone.name].size
        head = _build_head(recipe, n_classes, size, open_teacher)
        if run.pretrained:
            load_weights(backbone, run.pretrained)
            keep_classifier(head, Path(run.pretrained))
        layout = torch.channels_last if run.channels_last else torch.contiguous_format
        self.backbone = backbone.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.head = head.to(device)
        self.device = device
        self._averaged = averaged(self.backbone, run.ema) if run.ema else None
        if run.sync_bn and dist.is_initialized():
            self.backbone = synchronize_batch_norms(self.backbone, device)
        self.network: nn.Module = Network(self.backbone, self.head, layout)
        if dist.is_initialized():
            self._distribute(layout)
        self.optimizer = ReferenceSGD(
            parameter_groups(
                self.backbone,
                self.head,
                head_lr_mult=recipe.head.lr_mult,
                head_wd_mult=recipe.head.wd_mult,
            ),
            lr=recipe.optimizer.lr,
            momentum=recipe.optimizer.momentum,
            weight_decay=recipe.optimizer.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=run.precision == "fp16")

    def _distribute(self, layout: torch.memory_format) -> None:
        """Average gradients over the ranks; a sharded head keeps its own."""
        if isinstance(self.head, PartialHead):
            self.network = Network(average_gradients(self.backbone), self.head, layout)
        else:
            self.network = average_gradients(self.network)

    @property
    def ema(self) -> nn.Module | None:
        """The averaged backbone, if the recipe requests one."""
        return None if self._averaged is None else self._averaged.module

    @property
    def evaluated(self) -> nn.Module:
        """The backbone to verify and export: the averaged one where there is one."""
        return self.backbone if self.ema is None else self.ema

    def unscale(self) -> None:
        """Undo the scaling of the gradients in fp16.

        A shard's gradients overflow on their own rank alone, but all ranks must skip the step and
        lower the scale together: the overflow is passed on in the backbone's.
        """
        if (
            isinstance(self.head, PartialHead)
            and dist.is_initialized()
            and self.scaler.is_enabled()
        ):
            grads = [p.grad for p in self.head.parameters() if p.grad is not None]
            is_over = torch.stack([~g.isfinite().all() for g in grads]).any().float()
            dist.all_reduce(is_over, dist.ReduceOp.MAX)
            shared = next(p.grad for p in self.backbone.parameters() if p.grad is not None)
            shared.masked_fill_(is_over > 0, torch.inf)
        self.scaler.unscale_(self.optimizer)

    def largest_weight(self) -> float:
        """Return the largest magnitude among all weights and statistics; NaN if one is NaN."""
        tensors = [*self.backbone.state_dict().values(), *self.head.state_dict().values()]
        return float(torch.stack([t.abs().max().float() for t in tensors]).max())

    def clip(self, largest: float) -> None:
        """Scale all gradients down to a norm; shards count once each, so that ranks agree."""
        backbone = [p for p in self.backbone.parameters() if p.grad is not None]
        head = [p for p in self.head.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in head if p.grad is not None])
        square = norm.to(self.device).square()
        if isinstance(self.head, PartialHead) and dist.is_initialized():
            dist.all_reduce(square)
        norm = nn.utils.get_total_norm([p.grad for p in backbone if p.grad is not None])
        total = torch.sqrt(square + norm.square())
        nn.utils.clip_grads_with_norm_([*backbone, *head], largest, total)

    @torch.no_grad()
    def average(self) -> None:
        """Update the averaged backbone."""
        if self._averaged is None:
            return
        self._averaged.update_parameters(self.backbone)
        for mean, now in zip(self._averaged.module.buffers(), self.backbone.buffers(), strict=True):
            if not mean.is_floating_point():
                mean.copy_(now)  # a count, which has no average

    def verify(self, pairs: PairSet) -> Verification:
        """Verify the network as it is; few pairs get fewer folds. It is left evaluating."""
        plain, mirrored = embed_pairs(torch_embed(self.evaluated, self.device), pairs)
        folds = min(FOLDS, len(pairs.is_same))
        return verify_embeddings(plain, mirrored, pairs.is_same, target=pairs.name, folds=folds)

    def state(self) -> State:
        """Return all that a resume needs, as tensors and plain values."""
        state: State = {
            "backbone": self.backbone.state_dict(),
            "head": self.head.state_dict(),
            "ema": {} if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        if isinstance(self.head, PartialHead):
            state["head_rng"] = self.head.generator.get_state()
            state["n_classes"] = self.head.n_classes
        return state

    def rank_state(self) -> State:
        """Return what differs between ranks that train the same weights.

        Their random numbers, and the statistics of batch norms, which each takes of its own images.
        """
        state: State = {"rng": torch.get_rng_state(), "buffers": _buffers(self.backbone)}
        if self.ema is not None:
            state["ema_buffers"] = _buffers(self.ema)
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        if isinstance(self.head, PartialHead):
            state["head_rng"] = self.head.generator.get_state()
        return state

    def restore_rank(self, state: State) -> None:
        """Go back to what this rank alone had, after `restore`."""
        torch.set_rng_state(state["rng"])
        _fill(self.backbone, state["buffers"])
        if self.ema is not None and "ema_buffers" in state:
            _fill(self.ema, state["ema_buffers"])
        if "cuda_rng" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        if "head_rng" in state and isinstance(self.head, PartialHead):
            self.head.generator.set_state(state["head_rng"])

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go back to a state; random numbers that it lacks stay as they are.

        Raises:
            CheckpointError: if it is of another network.
        """
        load_state(self.backbone, state["backbone"], path)
        load_state(self.head, state["head"], path)
        if self.ema is not None:
            load_state(self.ema, state["ema"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if "rng" in state:
            torch.set_rng_state(state["rng"])
        if "cuda_rng" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        if "head_rng" in state and isinstance(self.head, PartialHead):
            self.head.generator.set_state(state["head_rng"])


def averaged(backbone: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential average of a backbone, beginning with its weights as they are.

    Of the statistics of batch norms too: those of the moment do not fit weights of the past.
    """
    model = AveragedModel(
        backbone, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
    ).requires_grad_(False)
    model.n_averaged.fill_(1)  # else the first update would drop the initial weights
    return model


def keep_classifier(head: nn.Module, path: Path) -> None:
    """Fill a head from a checkpoint of ours where classes, size and kind agree; logs if it did.

    Raises:
        CheckpointError: if a part of a sharded head is missing.
    """
    if path.suffix != ".pt" or not head.state_dict():
        return
    state = read_checkpoint(path)
    own = head.state_dict()
    n = head.n_classes if isinstance(head, PartialHead) else len(own.get("weight", ()))
    rows = head.own if isinstance(head, PartialHead) else range(n)
    n_then = state.get("n_classes", len(state["head"].get("weight", ())))
    if n == n_then and (isinstance(head, PartialHead) or state.get("parts", 1) > 1):
        state = classes_of(state, path, rows, n)
    shapes = {name: value.shape for name, value in state["head"].items()}
    if n == n_then and shapes == {name: value.shape for name, value in own.items()}:
        head.load_state_dict(state["head"])
        logger.info("the classifier of %s is kept: %d classes", path, n)
    else:
        logger.info(
            "the classifier of %s is not kept: it has %d classes or another kind, the set has %d",
            *(path, n_then, n),
        )


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().cpu().clone() for name, buffer in module.named_buffers()}


def _fill(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])


def _build_head(
    recipe: Recipe, n_classes: int, size: int, open_teacher: Callable[[HeadSection], Embed]
) -> nn.Module:
    head = recipe.head
    generator = torch.Generator().manual_seed(recipe.run.seed + 1)
    match head.loss:
        case "genderage":
            return GenderAgeHead()
        case "distill":
            return DistillHead(open_teacher(head), blend=head.blend, warp=head.warp)
        case "triplet":
            return TripletLoss(angular=False, alpha=ALPHA)
        case "atriplet":
            return TripletLoss(angular=True, alpha=ALPHA_ANGLE)
        case "softmax":
            return SoftmaxHead(n_classes, size, generator=generator)
    margin = margin_of(head.loss, head.m1, head.m2, head.m3, head.scale)
    if head.sharded:
        return PartialHead(n_classes, size, margin, rate=head.rate, seed=recipe.run.seed + 1)
    return MarginHead(n_classes, size, margin, centres=head.centres, generator=generator)
