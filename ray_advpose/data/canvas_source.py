"""The read tasks of the stream; imported by data processes, so nothing here may import torch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import pyarrow as pa
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.data.extensions import ArrowTensorArray

from ray_advpose.data.rows import read_steps
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.schedule import Schedule


class CanvasSource(Datasource):
    """Read tasks over ranges of steps."""

    def __init__(
        self, shards: ShardSet, schedule: Schedule, start_step: int, slots: np.ndarray, steps_per_task: int
    ) -> None:
        self._shards = shards
        self._schedule = schedule
        self._slots = slots
        self._ranges = [
            range(first, min(first + steps_per_task, schedule.total_steps))
            for first in range(start_step, schedule.total_steps, steps_per_task)
        ]

    @property
    def task_count(self) -> int:
        """Number of read tasks."""
        return len(self._ranges)

    def get_name(self) -> str:
        """Return the operator's name in Ray's dashboard."""
        return "Canvases"

    def estimate_inmemory_data_size(self) -> int:
        """Return the bytes of all canvases of the rest of the run."""
        side = self._shards.manifest.canvas.canvas_px
        return sum(len(steps) for steps in self._ranges) * len(self._slots) * 3 * side**2

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        """Return one task a range, in order; the number is fixed by the steps, not by ``parallelism``."""
        side = self._shards.manifest.canvas.canvas_px
        tasks = []
        for steps in self._ranges:
            rows = len(steps) * len(self._slots)
            metadata = BlockMetadata(num_rows=rows, size_bytes=rows * 3 * side**2, input_files=None, exec_stats=None)
            read = partial(_read_block, self._shards, self._schedule, steps, self._slots)
            tasks.append(ReadTask(read, metadata))
        return tasks


def _read_block(shards: ShardSet, schedule: Schedule, steps: range, slots: np.ndarray) -> Iterable[pa.Table]:
    rows = read_steps(shards, schedule, steps, slots)
    yield pa.table(
        {name: values if values.ndim == 1 else ArrowTensorArray.from_numpy(values) for name, values in rows.items()}
    )
