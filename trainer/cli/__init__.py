"""The command `facewire-train`."""

from trainer.cli.main import main
from trainer.cli.shell import app

__all__ = ["app", "main"]
