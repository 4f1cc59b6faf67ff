"""Runs side by side: a few processes that train one run after the other until time is up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from ray_advpose.data.persons import SPLITS
from ray_advpose.data.shard_place import ShardPlace
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.evidence.arms import Run
from ray_advpose.evidence.held import HeldSplit, hold_split
from ray_advpose.evidence.one_run import Means, is_done, read_history, train_run
from ray_advpose.training.modes import be_deterministic

_TOLD_EVERY_S = 20.0


@dataclass(frozen=True)
class Place:
    """Where an experiment lives.

    Attributes:
        data: Prepared data.
        canvases: Its splits decoded (`ray_advpose.evidence.held.decode_split`).
        runs: A folder for each run.
    """

    data: ShardPlace
    canvases: Path
    runs: Path


def train_runs(
    planned: Callable[[], Iterable[Run]],
    place: Place,
    parallel: int,
    threads: int,
    deadline: float | None,
) -> bool:
    """Train all runs of a plan, as far as time goes.

    Args:
        planned: Returns every run that is known by now, in the order to begin them; asked again when a run
            has ended, as tuning decides what the arms are.
        place: Where data and runs are.
        parallel: Processes.
        threads: PyTorch's, in each of them.
        deadline: `time.time` at which training stops, each run with a checkpoint; None for none.

    Returns:
        Whether all runs have ended.

    Raises:
        UserError: A process was killed, or a run failed.
        KeyboardInterrupt: After every run has left a checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    at_work: dict[Future[bool], Run] = {}
    started = time.time()
    interrupted = False
    with ProcessPoolExecutor(parallel, context, _prepare, (place, threads, deadline, stop)) as processes:
        try:
            told = 0.0
            while True:
                runs = list(planned())
                waiting = [run for run in runs if not is_done(place.runs, run.name)]
                busy = {run.name for run in at_work.values()}
                over = deadline is not None and time.time() >= deadline
                for run in waiting if not over else ():
                    ready = run.after is None or is_done(place.runs, run.after)
                    if ready and run.name not in busy and len(at_work) < parallel:
                        at_work[processes.submit(_train, run)] = run
                if not at_work:
                    return not waiting
                ended, _ = wait(at_work, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ended:
                    if future.result():
                        _tell(f"{time.time() - started:6.0f} s  {_ended(at_work[future], place)}")
                    del at_work[future]
                    # One that was cut stays waiting; past the deadline it is not begun again.
                if time.monotonic() - told > _TOLD_EVERY_S:
                    told = time.monotonic()
                    _tell(f"{time.time() - started:6.0f} s  {_how_far(runs, list(at_work.values()), place)}")
        except KeyboardInterrupt:
            interrupted = True
            raise
        except BrokenProcessPool:
            raise UserError(
                f"a process that trained one of {', '.join(run.name for run in at_work.values())} was killed, or could"
                " not start (out of memory?); finished runs are kept, and fewer at a time (--parallel) need less"
            ) from None
        finally:
            stop.set()
            if interrupted:
                _tell("stopping; every run at work leaves a checkpoint")


_worker: tuple[Means, Callable[[], bool]] | None = None
"""What this process trains with, and whether it may go on; None in the parent."""
_at_work = threading.Lock()


def _prepare(place: Place, threads: int, deadline: float | None, stop: Event) -> None:
    """Make this process ready to train: Ctrl-C is the parent's, which lets every run leave a checkpoint."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    # Shapes do not change within a run, so the fastest convolution is looked for once.
    torch.backends.cudnn.benchmark = cuda
    shards = ShardSet.open(place.data)
    there = [split for split in SPLITS if shards.count(split)]
    splits: dict[str, HeldSplit] = {split: hold_split(place.canvases, split, device) for split in there}
    ending = threading.Event()

    def go_on() -> bool:
        return not (stop.is_set() or ending.is_set() or (deadline is not None and time.time() >= deadline))

    threading.Thread(target=_end_without_parent, args=(ending,), daemon=True).start()
    # A batch system ends all processes at once.
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=_end_at_a_checkpoint, args=(ending,), daemon=True).start()
    )

    _worker = Means(shards, splits, place.runs, device), go_on


def _end_without_parent(ending: threading.Event) -> None:
    """End if the parent was killed: the pool would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a pool's process has one"
    parent.join()
    _end_at_a_checkpoint(ending)


def _end_at_a_checkpoint(ending: threading.Event) -> None:
    """Have the run at work leave a checkpoint, and end this process."""
    ending.set()
    with _at_work:
        os._exit(1)


def _train(run: Run) -> bool:
    assert _worker is not None, "a process is prepared before its first run"
    with _at_work:
        be_deterministic(run.config.run.deterministic)
        return train_run(run, *_worker)


def _tell(line: str) -> None:
    print(line, flush=True)


def _ended(run: Run, place: Place) -> str:
    history = read_history(place.runs, run.name)
    return f"{run.name}: {history[-1].metric:.2f} on validation, {sum(record.seconds for record in history):.0f} s"


def _how_far(runs: list[Run], at_work: list[Run], place: Place) -> str:
    done = sum(is_done(place.runs, run.name) for run in runs)
    looks = []
    for run in at_work:
        history = read_history(place.runs, run.name)
        if history:
            looks.append(f"{run.name} {history[-1].stage} {history[-1].epoch}: {history[-1].metric:.1f}")
    return f"{done} of {len(runs)} runs have ended; at work: {', '.join(looks) or 'starting'}"
