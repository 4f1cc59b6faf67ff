"""What a run's epochs came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ray_advpose.training.schedule import Stage


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to; a run's records are its history.

    Attributes:
        stage: Name of the stage.
        epoch: Epoch within the stage, from 1.
        step: Global steps done at its end.
        images: Images seen in the epoch.
        seconds: Wall time of the epoch's training steps.
        waiting_share: Share of that time spent waiting for data.
        metric: Validation score in percent (PCK or PCKh, by the data's protocol).
        means: Mean statistics of the epoch's steps (losses, rewarded shares, entropies).
        learning_rates: By network.
    """

    stage: str
    epoch: int
    step: int
    images: int
    seconds: float
    waiting_share: float
    metric: float
    means: dict[str, float]
    learning_rates: dict[str, float]


def metrics_of(history: Sequence[EpochRecord], total_steps: int) -> dict[str, float | int | str]:
    """Return what a population is told at the end of an epoch.

    Args:
        history: Up to that epoch, at least one.
        total_steps: Of the whole run.
    """
    record = history[-1]
    return {
        "metric": record.metric,
        "best_metric": max(each.metric for each in history),
        "stage": record.stage,
        "epoch": record.epoch,
        "joint_epochs": sum(each.stage == Stage.JOINT.label for each in history),
        "step": record.step,
        "total_steps": total_steps,
        "images_per_s": record.images / record.seconds,
        "epoch_seconds": record.seconds,
        "waiting_share": record.waiting_share,
        **record.means,
        **{f"lr_{name}": rate for name, rate in record.learning_rates.items()},
    }
