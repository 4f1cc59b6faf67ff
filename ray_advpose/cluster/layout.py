"""How many trials fit on a cluster at once, decided before the first one starts.

Only training workers are counted. Their data tasks ask Ray for no CPU: each stream has one task at a
time and no more, and CPUs that Ray Data divides among running executions are rounded down to whole
ones, so that two which share one would both get none and wait forever.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ray_advpose.config import Config
from ray_advpose.errors import UserError

# Each running trial holds a share of the head node, and Ray Train needs a thousandth of it besides.
MAX_SLOTS = 20
_ROUNDING = 1e-9


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


@dataclass(frozen=True)
class Node:
    """What a node has for training.

    Attributes:
        cpus: Its CPUs, as it announces them.
        gpus: Its GPUs.
    """

    cpus: float
    gpus: float


def plan_layout(config: Config, trials: int, nodes: Sequence[Node], at_once: int | None = None) -> Layout:
    """Fit as many trials as there are resources for; a worker needs all of its own on one node.

    Args:
        config: Workers of a trial and what each of them takes.
        trials: No more slots than trials are planned.
        nodes: Of the cluster.
        at_once: Trials to run at a time on a cluster that grows for them, whatever it has now; None for
            what its nodes hold.

    Raises:
        UserError: Not even one trial fits; says what would.
    """
    run = config.run
    # A run that follows the cluster's size starts with the workers that there is room for.
    workers = run.num_workers if run.min_workers is None else run.min_workers
    room = sum(_workers_on(node, run.cpus_per_worker, run.gpus_per_worker) for node in nodes)
    slots = min(room // workers if at_once is None else at_once, trials, MAX_SLOTS)
    if slots < 1:
        raise UserError(
            f"one trial needs {workers} worker(s) with run.cpus_per_worker = {run.cpus_per_worker:g} and"
            f" run.gpus_per_worker = {run.gpus_per_worker:g}, each on one node, but {_has(nodes)};"
            f" {_what_would_fit(config, nodes, room)}"
        )
    return Layout(slots, workers, slots * workers * run.cpus_per_worker, slots * workers * run.gpus_per_worker)


def _workers_on(node: Node, cpus: float, gpus: float) -> int:
    by_cpus = math.floor(node.cpus / cpus)
    if not gpus:
        return by_cpus
    # Ray takes a share of a GPU from one of them.
    by_gpus = math.floor(node.gpus) * math.floor(1 / gpus + _ROUNDING) if gpus < 1 else math.floor(node.gpus / gpus)
    return min(by_cpus, by_gpus)


def _has(nodes: Sequence[Node]) -> str:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    most = max((node.cpus for node in nodes), default=0.0)
    return f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, at most {most:g} CPUs on a node"


def _what_would_fit(config: Config, nodes: Sequence[Node], room: int) -> str:
    """Say which one change would let a trial start."""
    run = config.run
    if room:
        return f"run.{'num' if run.min_workers is None else 'min'}_workers = {room} would fit"
    workers = run.num_workers if run.min_workers is None else run.min_workers

    def fit(cpus: float, gpus: float) -> bool:
        return sum(_workers_on(node, cpus, gpus) for node in nodes) >= workers

    fewer = [cpus for cpus in (*range(math.ceil(run.cpus_per_worker) - 1, 0, -1), 0.5) if cpus < run.cpus_per_worker]
    for cpus in fewer:
        if fit(cpus, run.gpus_per_worker):
            return f"run.cpus_per_worker = {cpus:g} would fit"
    if run.gpus_per_worker and fit(run.cpus_per_worker, 0.0):
        return "run.gpus_per_worker = 0 would train on CPUs"
    return "it needs more nodes, or larger ones; --at-once N asks a cluster that grows for them"


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
            f" want {threads} cores, but this machine has {cores}; {_what_fits_here(config, cores)}"
        )
    workers = min(run.num_workers, cores // run.torch_threads_per_worker)
    slots = min(trials, cores // threads, MAX_SLOTS) if run.min_workers is None else 1
    return math.ceil(slots * workers * run.cpus_per_worker)


def _what_fits_here(config: Config, cores: int) -> str:
    most = cores // config.run.torch_threads_per_worker
    if most and config.run.min_workers is None:
        return f"run.num_workers = {most} would fit"
    return f"run.min_workers = {most} would fit" if most else f"run.torch_threads_per_worker = {cores} would fit"
