"""How many trials fit on a cluster at once, decided before the first one starts.

Ray Data divides the CPUs that training leaves over by the number of running executions and rounds
down to whole CPUs. Two executions that share one CPU therefore both get none and wait forever, so
every worker's stream needs a whole CPU beside the worker's own.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ray_advpose.config import Config
from ray_advpose.errors import UserError

_STREAM_CPUS = 1.0
# Each running trial holds a share of the head node, and Ray Train needs a thousandth of it besides.
MAX_SLOTS = 20


@dataclass(frozen=True)
class Layout:
    """How a search uses its machines.

    Attributes:
        slots: Trials that run at a time.
        workers: Training workers of a trial.
        cpus: CPUs that all slots need together, streams included.
        gpus: GPUs that all slots need together.
    """

    slots: int
    workers: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return (
            f"{self.slots} trials at a time, {self.workers} worker(s) each; {self.cpus:g} CPUs"
            f" ({_STREAM_CPUS:g} a worker for its data) and {self.gpus:g} GPUs in all"
        )


def plan_layout(config: Config, trials: int, cpus: float, gpus: float) -> Layout:
    """Fit as many trials as there are resources for.

    Args:
        config: Workers of a trial and what each of them takes.
        trials: No more slots than trials are planned.
        cpus: CPUs of the cluster.
        gpus: GPUs of the cluster.

    Raises:
        UserError: Not even one trial fits.
    """
    run = config.run
    cpus_each = run.num_workers * (run.cpus_per_worker + _STREAM_CPUS)
    gpus_each = run.num_workers * run.gpus_per_worker
    by_cpu = math.floor(cpus / cpus_each)
    by_gpu = math.floor(gpus / gpus_each) if gpus_each else trials
    slots = min(by_cpu, by_gpu, trials, MAX_SLOTS)
    if slots < 1:
        raise UserError(
            f"one trial needs {cpus_each:g} CPUs and {gpus_each:g} GPUs (run.num_workers = {run.num_workers},"
            f" run.cpus_per_worker = {run.cpus_per_worker:g} and {_STREAM_CPUS:g} for each worker's data,"
            f" run.gpus_per_worker = {run.gpus_per_worker:g}), but the cluster has {cpus:g} CPUs and {gpus:g} GPUs"
        )
    return Layout(slots, run.num_workers, slots * cpus_each, slots * gpus_each)


def local_cpus(config: Config, trials: int) -> int:
    """Return how many CPUs a cluster on this machine alone should announce.

    Training keeps the machine's cores busy, one slot for each group of workers that fits on them.
    Streams sleep most of the time and get announced CPUs beyond the cores.

    Raises:
        UserError: The workers of one trial want more threads than there are cores.
    """
    run = config.run
    cores = os.cpu_count() or 1
    threads = run.num_workers * run.torch_threads_per_worker
    if threads > cores:
        raise UserError(
            f"run.num_workers = {run.num_workers} with run.torch_threads_per_worker = {run.torch_threads_per_worker}"
            f" wants {threads} cores, but this machine has {cores}"
        )
    slots = min(trials, cores // threads, MAX_SLOTS)
    return math.ceil(slots * run.num_workers * (run.cpus_per_worker + _STREAM_CPUS))
