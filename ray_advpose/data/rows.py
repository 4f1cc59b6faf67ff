"""The rows of training steps: which persons they hold, read and decoded; free of Ray and torch."""

from __future__ import annotations

import numpy as np

from ray_advpose.data.persons import Split
from ray_advpose.data.shards import PersonArrays, ShardSet, read_persons
from ray_advpose.training.schedule import Schedule


def read_steps(
    shards: ShardSet, schedule: Schedule, steps: range, slots: np.ndarray, threads: int = 1
) -> dict[str, np.ndarray]:
    """Read the given slots of some steps, step by step and slot by slot.

    Args:
        shards: Prepared data.
        schedule: Which samples each step holds.
        steps: Global steps, at least one.
        slots: (n,) places in the global batch.
        threads: How many decode.

    Returns:
        The columns of `ray_advpose.training.batch.CanvasBatch`, and ``step``, each with
        ``len(steps) * n`` rows.

    Raises:
        UserError: A shard was removed, cut off or altered.
    """
    samples = np.concatenate([schedule.samples(step)[slots] for step in steps])
    return {
        "step": np.repeat(np.fromiter(steps, np.int64), len(slots)),
        "slot": np.tile(slots.astype(np.int64), len(steps)),
        "sample": samples,
        **read_columns(shards, "train", samples, threads),
    }


def read_columns(shards: ShardSet, split: Split, samples: np.ndarray, threads: int = 1) -> dict[str, np.ndarray]:
    """Read persons of a split as what a `CanvasBatch` holds of each, beside its place in a step.

    Args:
        shards: Prepared data.
        split: Which split.
        samples: (n,) places in it.
        threads: How many decode.
    """
    return columns_of(read_persons(shards, split, samples, threads))


def columns_of(persons: PersonArrays) -> dict[str, np.ndarray]:
    """Return what a `CanvasBatch` holds of persons, beside their places in a step."""
    canvas_from_image = 1 / np.sqrt(np.abs(np.linalg.det(persons.image_from_canvas[:, :, :2])))
    return {
        "canvas": persons.canvas,
        "joints_cv": persons.joints_cv,
        "annotated": persons.annotated,
        "normalizer_cv": (persons.normalizer_px * canvas_from_image).astype(np.float32),
    }
