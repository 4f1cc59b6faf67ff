"""What a run's epochs came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_advpose.pose.score import Score
from ray_advpose.training.schedule import Stage


@dataclass(frozen=True)
class Validation:
    """What D was worth on the validation split.

    Attributes:
        metric: Score in percent (PCK or PCKh, by the data's protocol).
        joints: Accuracy of every joint that counts, in percent, by its name.
    """

    metric: float
    joints: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(score: Score) -> Validation:
        """Return what a score comes to: the pooled accuracy, and that of each joint that counts."""
        accuracies = zip(score.skeleton.joints, score.joint_accuracy.tolist(), score.joint_counts, strict=True)
        return Validation(score.pooled, {name: accuracy for name, accuracy, count in accuracies if count})


@dataclass(frozen=True)
class Probe:
    """How hard each augmentation is for D, and what the augmentation networks predict, on fixed images.

    What the paper's Figure 5 is drawn from. A loss is D's mean over the images, each augmented by the
    centre of that one bin and nothing else, or with that one cell occluded; a prediction is the mean
    over the images, and empty without the network that makes it.

    Attributes:
        images: How many.
        scales_log2: Centres of the M scale bins.
        rotations_deg: Centres of the N rotation bins, in degrees.
        grid: Rows and columns of the occlusion cells.
        loss_scale: M losses.
        loss_rotation: N losses.
        loss_cells: Losses of the cells, row by row.
        predicted_scale: P^s, M probabilities.
        predicted_rotation: P^r, N probabilities.
        predicted_cells: P^o, a probability for each cell, row by row.
    """

    images: int
    scales_log2: list[float]
    rotations_deg: list[float]
    grid: list[int]
    loss_scale: list[float]
    loss_rotation: list[float]
    loss_cells: list[float]
    predicted_scale: list[float]
    predicted_rotation: list[float]
    predicted_cells: list[float]


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
        joints: Validation accuracy of every joint, in percent, by its name.
        probe: What was measured at the epoch's end; None where it was not.
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
    joints: dict[str, float] = field(default_factory=dict)
    probe: Probe | None = None

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> EpochRecord:
        """Return the record that `dataclasses.asdict` was given."""
        probe = saved.get("probe")
        return EpochRecord(**{**saved, "probe": None if probe is None else Probe(**probe)})


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
