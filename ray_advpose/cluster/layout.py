"""How many trials fit on a cluster at once, decided before the first one starts.

Only training workers are counted. Their data tasks ask Ray for no CPU: each stream has one task at a
time and no more, and CPUs that Ray Data divides among running executions are rounded down to whole
ones, so that two which share one would both get none and wait forever.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ray_advpose.config import Config
from ray_advpose.errors import UserError

# Each running trial holds a share of the head node, and Ray Train needs a thousandth of it besides.
MAX_SLOTS = 20


@dataclass(frozen=True)
class Layout:
    """How a search uses its machines.

    Attributes:
        slots: Trials that run at a time.
        workers: Training workers of a trial.
        cpus: CPUs that all slots need together.
        gpus: GPUs that all slots need together.
    """

    slots: int
    workers: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return (
            f"{self.slots} trials at a time, {self.workers} worker(s) each;"
            f" {self.cpus:g} CPUs and {self.gpus:g} GPUs in all"
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
    # A run that follows the cluster's size starts with the workers that there is room for.
    workers = run.num_workers if run.min_workers is None else run.min_workers
    cpus_each = workers * run.cpus_per_worker
    gpus_each = workers * run.gpus_per_worker
    by_cpu = math.floor(cpus / cpus_each)
    by_gpu = math.floor(gpus / gpus_each) if gpus_each else trials
    slots = min(by_cpu, by_gpu, trials, MAX_SLOTS)
    if slots < 1:
        raise UserError(
            f"one trial needs {cpus_each:g} CPUs and {gpus_each:g} GPUs ({workers} worker(s),"
            f" run.cpus_per_worker = {run.cpus_per_worker:g}, run.gpus_per_worker = {run.gpus_per_worker:g}),"
            f" but the cluster has {cpus:g} CPUs and {gpus:g} GPUs"
        )
    return Layout(slots, workers, slots * cpus_each, slots * gpus_each)


def local_cpus(config: Config, trials: int) -> int:
    """Return how many CPUs a cluster on this machine alone should announce: what fills its cores with training.

    Raises:
        UserError: The workers of one trial want more threads than there are cores.
    """
    run = config.run
    cores = os.cpu_count() or 1
    least = run.num_workers if run.min_workers is None else run.min_workers
    threads = least * run.torch_threads_per_worker
    if threads > cores:
        raise UserError(
            f"{least} worker(s) with run.torch_threads_per_worker = {run.torch_threads_per_worker}"
            f" want {threads} cores, but this machine has {cores}"
        )
    workers = min(run.num_workers, cores // run.torch_threads_per_worker)
    slots = min(trials, cores // threads, MAX_SLOTS) if run.min_workers is None else 1
    return math.ceil(slots * workers * run.cpus_per_worker)
