"""Backbones by the reference's names."""

from trainer.backbones.registry import BACKBONES, build_backbone

__all__ = ["BACKBONES", "build_backbone"]
