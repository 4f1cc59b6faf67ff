"""What the stream delivers beside a torch DataLoader and beside a bare loop, and what its start costs.

``python benchmarks/stream.py --data DIR`` gives the same batches of stage 1 to a consumer in three ways: by
`stream_batches`, by a DataLoader with the best of 0, 1 and 2 persistent workers, and by a loop that reads in the
consumer's own process. One consumer only takes the batches, the other trains the preset's network on them.
Every run has a process of its own, so that nothing is in memory that an earlier run read, and the kinds take
turns in both orders.

The clock of a run starts before the data set, loader or execution is made and stops when the last batch is used.
Not counted, as a run has them behind it: imports, and starting Ray with its two spare processes. The first stream
on a Ray still starts Ray Data's own actors and imports Ray Data in the reading process; later ones do not. The
steady state is what comes after a fifth of a run and before its last twentieth.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from torch.utils.data import DataLoader, Dataset

from ray_advpose.cluster.runtime import local_ray
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.data.stream import stream_batches
from ray_advpose.data.task import task_for
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.pose_step import PoseStep
from ray_advpose.training.schedule import Schedule, make_schedule
from ray_advpose.training.state import make_state

_GOAL_WHOLE, _GOAL_STEADY = 0.85, 0.95
_LOADER_WORKERS = (0, 1, 2)
_STREAM, _LATER, _BARE = "stream, first on its Ray", "stream, a later one", "bare loop"
# Ray's spare processes: one each for the trainer, which is this process here, and for reading.
_CPUS = 2


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        data: Prepared shards.
        preset: Batch size and network.
        epochs: Length of the run.
        trains: Whether the consumer trains, or only takes the batches.
        steps: The run is cut off here; None for all of it.
    """

    data: Path
    preset: str
    epochs: int
    trains: bool
    steps: int | None = None

    def schedule(self, shards: ShardSet) -> Schedule:
        """Return stage 1 alone."""
        config = preset_named(self.preset).replaced({"stages.pose_epochs": self.epochs, "stages.pretrain_images": None})
        pose = make_schedule(config, shards.count("train")).spans[0]
        pose = replace(pose, steps=min(pose.steps, self.steps or pose.steps))
        return Schedule(config.run.seed, config.run.global_batch_size, (pose,), pretrain_subset=None)


@dataclass(frozen=True)
class Figures:
    """One run: seconds to its first batch, and images/s of all of it and of its steady state."""

    first_s: float
    whole: float
    steady: float


class ScheduledSteps(Dataset[CanvasBatch]):
    """The steps of a schedule, each a whole batch."""

    def __init__(self, shards: ShardSet, schedule: Schedule) -> None:
        self._shards = shards
        self._schedule = schedule
        self._slots = np.arange(schedule.batch_size)

    def __len__(self) -> int:
        return self._schedule.total_steps

    def __getitem__(self, step: int) -> CanvasBatch:
        """Read a step. Its arrays are nobody else's, so tensors take their memory; the stream must copy."""
        rows = read_steps(self._shards, self._schedule, range(step, step + 1), self._slots)
        del rows["step"]
        return CanvasBatch(step=step, **{name: torch.from_numpy(values) for name, values in rows.items()})


def main() -> None:
    """Print the runs' medians and the ratios beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="prepared shards (default: drawn people)")
    parser.add_argument("--persons", type=int, default=1600, help="drawn without --data (default: %(default)s)")
    parser.add_argument("--preset", default="lspet-small", choices=PRESETS, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of a run (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=4, help="with the idle consumer (default: %(default)s)")
    parser.add_argument(
        "--training-turns", type=int, default=2, help="with the training consumer; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--choose-steps", type=int, default=150, help="to choose a loader by (default: %(default)s)")
    parser.add_argument("--check-steps", type=int, default=150, help="to compare byte by byte (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder) / "shards"
        if args.data is None:
            config = preset_named(args.preset)
            write_shards(generate_synthetic(args.persons), data, config.net.input_px)
        shards = ShardSet.open(data)
        idle = Job(data, args.preset, args.epochs, trains=False)
        schedule = idle.schedule(shards)
        print(
            f"{shards.count('train')} images of {shards.manifest.canvas.canvas_px} px, {args.epochs} epochs,"
            f" {schedule.total_steps} batches of {schedule.batch_size}, torch threads 1"
        )
        print(_in_process(check_bytes, replace(idle, steps=args.check_steps)) + "\n")
        print("| consumer | source | first batch, s | with start-up, images/s | steady, images/s |")
        print("|---|---|---:|---:|---:|", flush=True)
        verdicts = []
        for job, turns in ((idle, args.turns), (replace(idle, trains=True), args.training_turns)):
            if turns:
                verdicts += compare(job, turns, args.choose_steps)
    print(
        f"\n| consumer | stream | over DataLoader with start-up (goal {_GOAL_WHOLE}) | steady (goal {_GOAL_STEADY}) |"
    )
    print("|---|---|---:|---:|")
    print("\n".join(verdicts))


def compare(job: Job, turns: int, choose_steps: int) -> list[str]:
    """Print a consumer's rows; return the lines of its ratios."""
    consumer = "training" if job.trains else "idle"
    workers = _best_workers(replace(job, steps=choose_steps))
    loader = f"DataLoader, {workers} workers"
    kinds: dict[str, Callable[[], dict[str, Figures]]] = {
        "stream": lambda: _in_process(measure_streams, job),
        "loader": lambda: {loader: _in_process(measure_loader, job, workers)},
    }
    if not job.trains:
        kinds["bare"] = lambda: {_BARE: _in_process(measure_bare, job)}
    figures: list[dict[str, Figures]] = []
    for turn in range(turns):
        # In both orders equally often, so that a drift of the machine cancels.
        order = list(kinds) if turn % 2 == 0 else list(reversed(kinds))
        figures.append({name: values for kind in order for name, values in kinds[kind]().items()})
    names = sorted(figures[0], key=[_STREAM, _LATER, loader, _BARE].index)
    for name in names:
        first, whole, steady = (
            statistics.median(getattr(turn[name], field.name) for turn in figures) for field in fields(Figures)
        )
        print(f"| {consumer} | {name} | {first:.2f} | {whole:.0f} | {steady:.0f} |", flush=True)

    def ratio(name: str, field: str) -> str:
        ratios = [getattr(turn[name], field) / getattr(turn[loader], field) for turn in figures]
        return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"

    return [
        f"| {consumer} | {name} | {ratio(name, 'whole')} | {ratio(name, 'steady')} |"
        for name in names
        if name in (_STREAM, _LATER)
    ]


def _best_workers(job: Job) -> int:
    """Return the DataLoader's best number of workers: highest steady rate of two short runs each."""
    rates = dict.fromkeys(_LOADER_WORKERS, 0.0)
    for order in (_LOADER_WORKERS, _LOADER_WORKERS[::-1]):
        for workers in order:
            rates[workers] = max(rates[workers], _in_process(measure_loader, job, workers).steady)
    return max(rates, key=rates.__getitem__)


def measure_streams(job: Job) -> dict[str, Figures]:
    """Measure the first stream on a Ray, and another on the same unless training takes all the time."""
    with _started_ray():
        first = {_STREAM: _measure(job, _stream)}
        return first if job.trains else {**first, _LATER: _measure(job, _stream)}


def measure_loader(job: Job, workers: int) -> Figures:
    """Measure a DataLoader."""
    return _measure(job, lambda shards, schedule: _loader(shards, schedule, workers))


def measure_bare(job: Job) -> Figures:
    """Measure a loop over the steps."""
    return _measure(job, _bare)


def check_bytes(job: Job) -> str:
    """Compare the stream's batches with a loader's; return what was compared."""
    shards = ShardSet.open(job.data)
    schedule = job.schedule(shards)
    with _started_ray():
        streamed = _stream(shards, schedule)
        loaded = _loader(shards, schedule, workers=1)
        compared = 0
        for mine, theirs in zip(streamed, loaded, strict=True):
            assert mine.step == theirs.step
            for field in fields(CanvasBatch)[1:]:
                ours, other = getattr(mine, field.name).numpy(), getattr(theirs, field.name).numpy()
                assert (ours.dtype, ours.shape) == (other.dtype, other.shape), field.name
                assert ours.tobytes() == other.tobytes(), f"step {mine.step}: {field.name} differs"
                compared += ours.nbytes
    return f"stream and DataLoader gave the same {compared:,} bytes in the first {schedule.total_steps} steps"


def _measure(job: Job, source: Callable[[ShardSet, Schedule], Iterable[CanvasBatch]]) -> Figures:
    shards = ShardSet.open(job.data)
    schedule = job.schedule(shards)
    consume = _trainer(job, shards) if job.trains else lambda batch: None
    times = [time.perf_counter()]
    first_s = 0.0
    for batch in source(shards, schedule):
        first_s = first_s or time.perf_counter() - times[0]
        consume(batch)
        times.append(time.perf_counter())
    steps = len(times) - 1
    assert steps == schedule.total_steps
    begin, end = steps // 5, steps - steps // 20
    return Figures(
        first_s=first_s,
        whole=steps * schedule.batch_size / (times[-1] - times[0]),
        steady=(end - begin) * schedule.batch_size / (times[end] - times[begin]),
    )


def _trainer(job: Job, shards: ShardSet) -> Callable[[CanvasBatch], None]:
    """Return the plain step of stage 1 with its optimiser."""
    config = preset_named(job.preset)
    task = task_for(config, shards)
    state = make_state(config, len(task.skeleton.joints), torch.device("cpu"))
    state.pose_net.train()
    step, optimizer = PoseStep(task, state.pose_net), state.optimizers["pose"]

    def train(batch: CanvasBatch) -> None:
        loss, _ = step(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return train


def _stream(shards: ShardSet, schedule: Schedule) -> Iterator[CanvasBatch]:
    return stream_batches(shards, schedule, start_step=0, rank=0, world_size=1)


def _loader(shards: ShardSet, schedule: Schedule, workers: int) -> Iterable[CanvasBatch]:
    steps = ScheduledSteps(shards, schedule)
    if not workers:
        return DataLoader(steps, batch_size=None)
    return DataLoader(steps, batch_size=None, num_workers=workers, persistent_workers=True, prefetch_factor=4)


def _bare(shards: ShardSet, schedule: Schedule) -> Iterator[CanvasBatch]:
    steps = ScheduledSteps(shards, schedule)
    return (steps[step] for step in range(len(steps)))


@contextmanager
def _started_ray() -> Iterator[None]:
    with local_ray(_CPUS):
        nothing = ray.remote(num_cpus=1)(lambda: None)
        ray.get([nothing.remote() for _ in range(_CPUS)])
        yield


def _in_process(measure: Callable[..., Any], *args: object) -> Any:
    """Run a function in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as one:
        return one.submit(measure, *args).result()


if __name__ == "__main__":
    main()
