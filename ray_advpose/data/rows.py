"""The rows of training steps: which persons they hold, read and decoded; free of Ray and torch."""

from __future__ import annotations

import numpy as np

from ray_advpose.data.shards import ShardSet, read_persons
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
    persons = read_persons(shards, "train", samples, threads)
    canvas_from_image = 1 / np.sqrt(np.abs(np.linalg.det(persons.image_from_canvas[:, :, :2])))
    return {
        "step": np.repeat(np.fromiter(steps, np.int64), len(slots)),
        "slot": np.tile(slots.astype(np.int64), len(steps)),
        "sample": samples,
        "canvas": persons.canvas,
        "joints_cv": persons.joints_cv,
        "annotated": persons.annotated,
        "normalizer_cv": (persons.normalizer_px * canvas_from_image).astype(np.float32),
    }
