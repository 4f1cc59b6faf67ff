"""Canvases as Ray Data streams them: which samples, in which order, is a function of the step.

A read task is given a range of global steps and a worker's rank. It looks up in the schedule which
persons those slots hold, reads and decodes them, and emits their rows; nothing flows into it that
a retry, another prefetch depth or an earlier cut could change. To resume is to start the range
later. An execution covers the rest of a run, or as much of it as starts in a second: starting one costs, running
it does not.

Each worker streams its own slots. A split of one shared data set would hold every worker at its
barriers and could not be moved to another step when a worker group takes up another trial.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ExecutionResources
from ray.data.extensions import ArrowTensorArray

from ray_advpose.data.canvas_source import CanvasSource
from ray_advpose.data.rest import RestWhileTraining, trainer_waits
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.schedule import Schedule

# What one block may hold. Small enough for the reader's allocator to use the memory of one block for the next:
# beyond 32 MiB it would get fresh pages from the kernel each time.
_IMAGES_PER_BLOCK = 256
_BYTES_PER_BLOCK = 24 << 20
# A task's blocks come out while it goes on reading. Between the end of a task and the start of the next nothing is
# read, so tasks must not be tiny. They must be short enough to end by themselves: a task that waits until its blocks
# are taken holds its process when a stream is closed, and the next stream has to start one, which takes seconds.
_BLOCKS_PER_TASK = 4
# Ray makes all of an execution's tasks before the first of them reads, at 1.2 ms each. The rest of a run of the paper's
# size is 30,000 of them.
_TASKS_PER_EXECUTION = 500
# Read ahead so far and no further: what is ahead is lost when a trial is stopped.
_BLOCKS_AHEAD = 6


def stream_batches(
    shards: ShardSet,
    schedule: Schedule,
    start_step: int,
    rank: int,
    world_size: int,
) -> Generator[CanvasBatch, None, None]:
    """Stream one worker's part of every global batch from a step to the end of the run.

    Worker ``rank`` gets the slots ``rank, rank + world_size, ...``, so that every worker has the
    same number of images of each share of a joint step, give or take one.

    Args:
        shards: Prepared data; every node must be able to read its directory.
        schedule: Which samples each step holds.
        start_step: First global step.
        rank: This worker.
        world_size: Number of workers; their parts differ by an image where it does not divide the batch size.

    Yields:
        Batches on the CPU, in order of steps.

    Raises:
        RuntimeError: A block is not the one that was due.
    """
    if start_step >= schedule.total_steps:
        return
    slots = np.arange(rank, schedule.batch_size, world_size)
    image_bytes = 3 * shards.manifest.canvas.canvas_px**2
    steps_per_block = max(1, min(_IMAGES_PER_BLOCK, _BYTES_PER_BLOCK // image_bytes) // len(slots))
    steps_per_execution = steps_per_block * _BLOCKS_PER_TASK * _TASKS_PER_EXECUTION
    for first in range(start_step, schedule.total_steps, steps_per_execution):
        steps = range(first, min(first + steps_per_execution, schedule.total_steps))
        source = CanvasSource(shards, schedule, steps, slots, steps_per_block, _BLOCKS_PER_TASK)
        yield from _executed(_dataset(source, steps_per_block * len(slots) * image_bytes), steps, slots)


def _executed(dataset: ray.data.Dataset, steps: range, slots: np.ndarray) -> Generator[CanvasBatch, None, None]:
    due = steps.start
    # Whole blocks: cutting and formatting batches in Ray costs as much as copying them.
    blocks = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    while (block := _awaited(blocks)) is not None:
        columns = _arrays(block)
        for first in range(0, len(block), len(slots)):
            rows = {name: column[first : first + len(slots)] for name, column in columns.items()}
            if not (np.array_equal(rows["slot"], slots) and (rows["step"] == due).all()):
                raise RuntimeError(f"the stream gave steps {np.unique(rows['step'])} where step {due} was due")
            yield CanvasBatch.from_rows(due, rows)
            due += 1


class EarlyStream:
    """A stream that fetches its first batch in the background, from now on rather than from when it is asked for.

    Args:
        stream: Not asked for anything yet.
        start_step: Its first step.

    Attributes:
        due: The step of the batch that comes next.
    """

    def __init__(self, stream: Generator[CanvasBatch, None, None], start_step: int) -> None:
        self.due = start_step
        self._stream = stream
        pool = ThreadPoolExecutor(1, thread_name_prefix="first-batch")
        self._first: Future[CanvasBatch | None] | None = pool.submit(next, stream, None)
        pool.shutdown(wait=False)

    def __iter__(self) -> Iterator[CanvasBatch]:
        return self

    def __next__(self) -> CanvasBatch:
        """Return the next batch, waiting for it."""
        if self._first is None:
            batch = next(self._stream, None)
        else:
            first, self._first = self._first, None
            batch = first.result()
        if batch is None:
            raise StopIteration
        self.due = batch.step + 1
        return batch

    def close(self) -> None:
        """Free what the stream holds; waits for the first batch if that is still on its way."""
        if self._first is not None:
            self._first.exception()
        self._stream.close()


class StreamKeeper:
    """Keeps a worker's stream from one assignment to the next, which often goes on at the very step.

    A copy of another trial stands where its donor does, on the same data: the batches that come next
    are the same, and already on their way.
    """

    def __init__(self) -> None:
        self._kept: EarlyStream | None = None
        self._of: tuple[object, ...] = ()

    @contextmanager
    def streaming(
        self, shards: ShardSet, schedule: Schedule, start_step: int, rank: int, world_size: int
    ) -> Iterator[EarlyStream]:
        """Stream for the time being, arguments as `stream_batches`; after an error the stream is closed."""
        of = (shards.place, shards.fingerprint, schedule, rank, world_size)
        kept, self._kept = self._kept, None
        if kept is not None and (self._of != of or kept.due != start_step):
            # Before another starts: it needs the memory.
            kept.close()
            kept = None
        stream = kept or EarlyStream(stream_batches(shards, schedule, start_step, rank, world_size), start_step)
        try:
            yield stream
        except BaseException:
            stream.close()
            raise
        if stream.due < schedule.total_steps:
            self._kept, self._of = stream, of
        else:
            stream.close()


def _awaited(blocks: Iterator[pa.Table]) -> pa.Table | None:
    trainer_waits.set()
    try:
        return next(blocks, None)
    finally:
        trainer_waits.clear()


def _dataset(source: CanvasSource, block_bytes: int) -> ray.data.Dataset:
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # One task at a time, and none of the CPUs that Ray counts: what training leaves over is divided among running
    # executions in whole CPUs, and two that share one would both wait for ever.
    dataset = ray.data.read_datasource(source, concurrency=1, num_cpus=0, override_num_blocks=source.task_count)
    context = dataset.context
    context.enable_progress_bars = False
    # Ray joins what a task yields until it is larger than this: a block's canvases, without its other columns.
    context.target_max_block_size = block_bytes
    # Room for all of a task's blocks, so that it never waits for the trainer.
    context._max_num_blocks_in_streaming_gen_buffer = _BLOCKS_PER_TASK + 1
    context.custom_execution_callback_classes.append(RestWhileTraining)
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=_BLOCKS_AHEAD * block_bytes
    )
    return dataset


def _arrays(block: pa.Table) -> dict[str, np.ndarray]:
    """Return a block's columns as arrays, of the same memory where Arrow lays them out alike."""
    columns = {name: block.column(name).combine_chunks() for name in block.column_names}
    return {
        name: column.to_numpy_ndarray() if isinstance(column, ArrowTensorArray) else column.to_numpy()
        for name, column in columns.items()
    }
