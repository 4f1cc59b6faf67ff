"""Canvases as Ray Data streams them: which samples, in which order, is a function of the step.

A read task is given a range of global steps and a worker's rank. It looks up in the schedule which
persons those slots hold, reads and decodes them, and emits their rows; nothing flows into it that
a retry, another prefetch depth or an earlier cut could change. To resume is to start the range
later. One execution covers the rest of a run: starting one costs seconds, running it does not.

Each worker streams its own slots. A split of one shared data set would hold every worker at its
barriers and could not be moved to another step when a worker group takes up another trial.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import ray.data
from ray.data import ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback

from ray_advpose.data.canvas_source import CanvasSource
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.schedule import Schedule

# Starting a task costs as much as reading many images, so it must not be tiny.
_IMAGES_PER_TASK = 256
_BYTES_PER_TASK = 48 << 20
# Read ahead so far and no further: what is ahead is lost when a trial is stopped.
_TASKS_AHEAD = 3
# A task's images last for seconds of training; being told of a finished one this much later costs nothing.
_REST_S = 0.05


def stream_batches(
    shards: ShardSet,
    schedule: Schedule,
    start_step: int,
    rank: int,
    world_size: int,
    cpus_per_task: float = 0.0,
) -> Generator[CanvasBatch, None, None]:
    """Stream one worker's part of every global batch from a step to the end of the run.

    Worker ``rank`` gets the slots ``rank, rank + world_size, ...``, so that every worker has the
    same number of images of each share of a joint step, give or take one.

    Args:
        shards: Prepared data; every node must be able to read its directory.
        schedule: Which samples each step holds.
        start_step: First global step.
        rank: This worker.
        world_size: Number of workers; divides the batch size.
        cpus_per_task: CPUs Ray sets aside for a read task.

    Yields:
        Batches on the CPU, in order of steps.

    Raises:
        RuntimeError: A block is not the one that was due.
    """
    if start_step >= schedule.total_steps:
        return
    slots = np.arange(rank, schedule.batch_size, world_size)
    steps_per_task = _steps_per_task(len(slots), shards.manifest.canvas.canvas_px)
    dataset = _dataset(CanvasSource(shards, schedule, start_step, slots, steps_per_task), cpus_per_task)
    due = start_step
    for rows in dataset.iter_batches(batch_size=len(slots), batch_format="numpy", prefetch_batches=2):
        if not (np.array_equal(rows["slot"], slots) and (rows["step"] == due).all()):
            raise RuntimeError(f"the stream gave steps {np.unique(rows['step'])} where step {due} was due")
        yield CanvasBatch.from_rows(due, rows)
        due += 1


class RestBetweenSteps(ExecutionCallback):
    """Lets Ray Data's scheduling loop sleep between its steps.

    While the next blocks are ready and the trainer has not asked for them yet, the loop would spin:
    half a core, and the interpreter lock, taken from the training thread of the same process.
    """

    def on_execution_step(self, executor: Any) -> None:
        """Sleep; called after each step of the loop."""
        time.sleep(_REST_S)


def _dataset(source: CanvasSource, cpus_per_task: float) -> ray.data.Dataset:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    dataset = ray.data.read_datasource(
        source, concurrency=1, num_cpus=cpus_per_task, override_num_blocks=source.task_count
    )
    context = dataset.context
    context.enable_progress_bars = False
    context.custom_execution_callback_classes.append(RestBetweenSteps)
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=_TASKS_AHEAD * _BYTES_PER_TASK
    )
    return dataset


def _steps_per_task(slots: int, canvas_px: int) -> int:
    image_bytes = 3 * canvas_px**2
    images = min(_IMAGES_PER_TASK, _BYTES_PER_TASK // image_bytes)
    return max(1, images // slots)
