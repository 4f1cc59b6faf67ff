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

# Decoding takes most of a task's time, and what a block costs besides (its copy into the object store, its way to
# the trainer) comes on top of it. A stream decodes only as fast as its trainer takes the images, so two threads take
# no more of a CPU than one does, unless the trainer waits.
_THREADS = 2


class CanvasSource(Datasource):
    """Read tasks over ranges of steps; each emits a block for every ``steps_per_block`` of them."""

    def __init__(
        self,
        shards: ShardSet,
        schedule: Schedule,
        steps: range,
        slots: np.ndarray,
        steps_per_block: int,
        blocks_per_task: int,
    ) -> None:
        self._shards = shards
        self._schedule = schedule
        self._slots = slots
        self._steps_per_block = steps_per_block
        steps_per_task = steps_per_block * blocks_per_task
        self._ranges = [
            range(first, min(first + steps_per_task, steps.stop))
            for first in range(steps.start, steps.stop, steps_per_task)
        ]

    @property
    def task_count(self) -> int:
        """Number of read tasks."""
        return len(self._ranges)

    def get_name(self) -> str:
        """Return the operator's name in Ray's dashboard."""
        return "Canvases"

    def estimate_inmemory_data_size(self) -> int:
        """Return the bytes of all canvases of these steps."""
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
            read = partial(_read_blocks, self._shards, self._schedule, steps, self._slots, self._steps_per_block)
            tasks.append(ReadTask(read, metadata))
        return tasks


def _read_blocks(
    shards: ShardSet, schedule: Schedule, steps: range, slots: np.ndarray, steps_per_block: int
) -> Iterable[pa.Table]:
    for first in range(0, len(steps), steps_per_block):
        rows = read_steps(shards, schedule, steps[first : first + steps_per_block], slots, threads=_THREADS)
        yield pa.table(
            {name: values if values.ndim == 1 else ArrowTensorArray.from_numpy(values) for name, values in rows.items()}
        )
