"""`facewire-train`: one line and an exit code for every expected failure."""

import logging
import sys

import typer

from recognizer import RecognizerError
from trainer.cli import adaptation, networks, sets  # noqa: F401  they register their commands
from trainer.cli.shell import app
from trainer.errors import TrainerError


def main() -> None:
    """Run the command; an expected failure is one line and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    verbose = "-v" in sys.argv[1:]
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "-v"])
    except (TrainerError, RecognizerError) as error:
        if verbose:
            raise
        typer.echo(f"facewire-train: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "matplotlib", "tensorboardX"):
            raise
        typer.echo(
            f"facewire-train: {error.name} is missing "
            "(from the project's folder: pip install '.[train]')",
            err=True,
        )
        sys.exit(1)
