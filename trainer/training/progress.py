"""Progress reports of a training run."""

from dataclasses import dataclass

from trainer.evaluation.verification import Verification


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run is doing, over the steps since the last report.

    Attributes:
        step: optimizer steps done.
        lr: of the last step.
        loss: mean.
        accuracy: mean, in [0, 1].
        images_per_s: of this process.
        wait_share: of the time, spent waiting for data, in [0, 1].
    """

    step: int
    lr: float
    loss: float
    accuracy: float
    images_per_s: float
    wait_share: float


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """Results at a step, and whether their mean accuracy is the best so far."""

    step: int
    results: tuple[Verification, ...]
    is_best: bool
