"""The process that reads a stream's canvases, started before there is anything to read."""

from __future__ import annotations

import importlib

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def start_reader() -> None:
    """Have a process import what read tasks need, beside this one and in the background.

    Ray gives the first read task of this process's streams to it, as both were asked for from here. To
    start and import takes seconds, in which a worker has its own imports to do.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    ray.remote(num_cpus=0)(_imported).options(scheduling_strategy=here).remote()


def _imported() -> None:
    importlib.import_module("ray_advpose.data.canvas_source")
