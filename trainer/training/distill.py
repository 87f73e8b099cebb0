"""Distillation: a network learns another's embeddings on any faces, without labels.

Blends of two faces and warped faces extend a small set: the teacher embeds them as any photo.
"""

import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.errors import RecipeError
from trainer.evaluation.embedding import Embed, recognizer_embed
from trainer.evaluation.onnx_models import InputFacts
from trainer.heads.classification import Outcome, unit
from trainer.training.recipe import HeadSection

logger = logging.getLogger(__name__)

WARP_GRID = 5  # points a side that are moved at random; between them the shift is smooth


def open_teacher(head: HeadSection, *, device: str, threads: int) -> Embed:
    """Open the teacher of a recipe.

    Args:
        head: names it, and what its file does not say.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 for all.

    Raises:
        RecognizerError: if it cannot be opened.
        DataError: if facts are given for another model than an .onnx file.
    """
    facts = InputFacts(
        None if head.teacher_colour == "auto" else head.teacher_colour,
        head.teacher_mean or None,
        head.teacher_std or None,
        hint="head.teacher_colour, head.teacher_mean, head.teacher_std",
    )
    embed, model_id = recognizer_embed(head.teacher, device=device, threads=threads, facts=facts)
    logger.info("the teacher is %s", model_id)
    return embed


class DistillHead(nn.Module):
    """Pulls embeddings towards a teacher's of the same crops: 1 - cosine. It has no weights.

    Args:
        teacher: crops to embeddings.
        blend: share of the images that are mixed with another of the batch.
        warp: standard deviation of the random shifts, pixels; 0 for none.
    """

    def __init__(self, teacher: Embed, *, blend: float, warp: float) -> None:
        super().__init__()
        self._teacher, self._blend, self._warp = teacher, blend, warp

    @torch.no_grad()
    def vary(self, pixels: Tensor) -> Tensor:
        """Blend and warp (B, H, W, 3) of 0..255; float32 whole numbers, as the teacher sees them.

        Drawn from torch's generator of the CPU, which checkpoints hold.
        """
        images = pixels.float()
        n, height, width, _ = images.shape
        if self._blend:
            # up to half of the other: each stays the main face of its own image
            share = torch.rand(n) / 2 * (torch.rand(n) < self._blend)
            partners = images[torch.randperm(n).to(images.device)]
            images = torch.lerp(images, partners, share.view(-1, 1, 1, 1).to(images.device))
        if self._warp:
            shift = torch.randn(n, 2, WARP_GRID, WARP_GRID) * self._warp
            shift = functional.interpolate(
                shift, (height, width), mode="bicubic", align_corners=True
            )
            # grid_sample counts 2 from edge to edge
            shift = shift.permute(0, 2, 3, 1) * (2 / torch.tensor([width, height]))
            still = functional.affine_grid(
                torch.eye(2, 3).expand(n, 2, 3), [n, 3, height, width], align_corners=False
            )
            images = functional.grid_sample(
                images.permute(0, 3, 1, 2),
                (still + shift).to(images.device),
                padding_mode="border",
                align_corners=False,
            ).permute(0, 2, 3, 1)
        return images.clamp(0, 255).round()

    def forward(self, embeddings: Tensor, pixels: Tensor) -> Outcome:
        """Return the mean of 1 - cosine, and the mean cosine as accuracy.

        Args:
            embeddings: (B, D).
            pixels: (B, 112, 112, 3) that `vary` gave.
        """
        crops = np.ascontiguousarray(pixels.to(torch.uint8).cpu().numpy())
        wanted = torch.from_numpy(np.array(self._teacher(crops))).to(embeddings.device)
        if wanted.shape != embeddings.shape:
            raise RecipeError(
                f"the teacher's embeddings have {wanted.shape[1]} numbers: "
                f"set backbone.size = {wanted.shape[1]}"
            )
        cosine = (unit(embeddings.float()) * unit(wanted)).sum(dim=1).mean()
        return Outcome(1 - cosine, cosine.detach())
