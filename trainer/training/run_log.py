"""Log files of a run: log.csv, verified.jsonl, TensorBoard events, and plots."""

import csv
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.inspection import write_picture
from trainer.errors import TrainingError
from trainer.evaluation.plots import chart
from trainer.evaluation.verification import lines_of, roc, to_json
from trainer.training.checkpoint import what_is_left
from trainer.training.progress import Progress, Verified
from trainer.training.tensorboard import EventLog

logger = logging.getLogger(__name__)

LOG_FIELDS = ("step", "lr", "loss", "accuracy", "images_per_s", "wait_share")


class RunLog:
    """Keeps log.csv, verified.jsonl, TensorBoard's events and the plots of a whole run.

    A resumed run continues them from its checkpoint: later entries of a killed run are dropped.

    Args:
        out: directory.
        keep_to: step of the checkpoint; 0 starts from the beginning.
        highest: mean accuracy so far.
        now: seconds since 1970.

    Raises:
        TrainingError: if the directory cannot be made or written to.
    """

    def __init__(
        self, out: Path, *, keep_to: int, highest: float, now: Callable[[], float]
    ) -> None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"cannot make {out}: {(error.strerror or '').lower()} (choose another --out)"
            ) from error
        self._out = out
        self._csv, self._jsonl = out / "log.csv", out / "verified.jsonl"
        self._now = now
        self._events = EventLog(out, now=now(), purge_step=keep_to + 1 if keep_to else 0)
        self._highest = highest
        self._rows: list[dict[str, Any]] = []
        self._verified: list[dict[str, Any]] = []  # a row a target and step
        if keep_to:
            rows: Iterator[dict[str, Any]] = csv.DictReader(_whole_lines(self._csv))
            self._rows = [row for row in rows if int(row["step"]) <= keep_to]
            results = map(json.loads, _whole_lines(self._jsonl))
            self._verified = [row for row in results if row["step"] <= keep_to]
        with _named(self._csv, out), self._csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, LOG_FIELDS)
            writer.writeheader()
            writer.writerows(self._rows)
        with _named(self._jsonl, out):
            self._jsonl.write_text("".join(f"{json.dumps(row)}\n" for row in self._verified))

    def add(self, event: Progress | Verified) -> None:
        """Append an event of the training loop.

        Raises:
            TrainingError: if it cannot be written.
        """
        if isinstance(event, Progress):
            row = {field: getattr(event, field) for field in LOG_FIELDS}
            self._rows.append(row)
            with _named(self._csv, self._out), self._csv.open("a", newline="") as stream:
                csv.DictWriter(stream, LOG_FIELDS).writerow(row)
            facts = {f"train/{field}": float(row[field]) for field in LOG_FIELDS[1:]}
            with _named(self._events.path, self._out):
                self._events.add(event.step, facts, now=self._now())
        elif event.results:
            self._add_results(event)

    def _add_results(self, event: Verified) -> None:
        rows = [
            {"step": event.step, "lines": lines_of(result, event.step), **to_json(result)}
            for result in event.results
        ]
        self._verified += rows
        with _named(self._jsonl, self._out), self._jsonl.open("a") as stream:
            stream.writelines(f"{json.dumps(row)}\n" for row in rows)
        for row in rows:
            for line in row["lines"]:
                logger.info("%s", line)
        if event.step:  # before training there is nothing that best.pt could hold
            mean = float(np.mean([r.accuracy_flip.mean for r in event.results]))
            self._highest = max(self._highest, mean)
            logger.info("[%d]Accuracy-Highest: %1.5f", event.step, self._highest)
        facts = {f"{r.target}/accuracy_flip": r.accuracy_flip.mean for r in event.results}
        facts |= {f"{r.target}/xnorm": r.xnorm for r in event.results}
        with _named(self._events.path, self._out):
            self._events.add(event.step, facts, now=self._now())
        self._plot(event)

    def _plot(self, event: Verified) -> None:
        steps = [float(row["step"]) for row in self._rows]
        loss = [float(row["loss"]) for row in self._rows]
        write_picture(self._out / "loss.png", chart("loss", {"loss": (steps, loss)}))
        accuracy = {}
        for target in dict.fromkeys(row["target"] for row in self._verified):
            rows = [row for row in self._verified if row["target"] == target]
            means = [row["accuracy_flip"]["mean"] for row in rows]
            accuracy[target] = ([row["step"] for row in rows], means)
        write_picture(self._out / "accuracy.png", chart("accuracy (flip)", accuracy))
        curves = {r.target: roc(r.distances, r.is_same) for r in event.results}
        write_picture(self._out / "roc.png", chart("TAR over FAR", curves, log_x=True))

    def close(self) -> None:
        """Close the file of events."""
        self._events.close()

    def before_and_after(self) -> list[dict[str, Any]]:
        """Return the results of the run's first step, and of its last."""
        steps = sorted({row["step"] for row in self._verified})
        return [row for row in self._verified if row["step"] in steps[:1] + steps[-1:]]


def _whole_lines(path: Path) -> list[str]:
    """Return the lines of a file without one that was cut off; none where there is no file."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


@contextmanager
def _named(path: Path, out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot write {path}: {(error.strerror or '').lower()} "
            f"(free some space; {what_is_left(out)})"
        ) from error
