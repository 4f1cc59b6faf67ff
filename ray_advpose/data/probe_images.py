"""The fixed images on which a run measures how hard each augmentation is."""

from __future__ import annotations

import numpy as np

from ray_advpose.data.rows import read_columns
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.batch import CanvasBatch


def read_probe_images(shards: ShardSet, count: int) -> CanvasBatch | None:
    """Return evenly spaced validation persons, which D does not learn from, as a batch; None for no person.

    Args:
        shards: Prepared data.
        count: How many at most.
    """
    there = shards.count("val")
    samples = np.unique(np.linspace(0, there - 1, min(count, there)).round().astype(np.int64))
    if len(samples) == 0:
        return None
    columns = {"slot": np.arange(len(samples)), "sample": samples, **read_columns(shards, "val", samples)}
    return CanvasBatch.from_rows(0, columns)
