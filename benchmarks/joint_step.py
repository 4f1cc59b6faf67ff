"""What a joint step costs beside a plain one: both on the same batches, in turn, in one process.

``python benchmarks/joint_step.py --preset lspet-small``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ray_advpose.data.rows import read_steps
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.data.task import task_for
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pose_step import PoseStep
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.state import TrainState, make_state

_BATCHES = 10
_WARM_UP = 5


def main() -> None:
    """Print images/s of both steps and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="lspet-small", choices=PRESETS)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = preset_named(args.preset)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(generate_synthetic(persons=400), Path(folder) / "shards", config.net.input_px)
        shards = ShardSet.open(Path(folder) / "shards")
        schedule = make_schedule(config, shards.count("train"))
        slots = np.arange(config.run.global_batch_size)
        batches = [
            CanvasBatch.from_rows(step, read_steps(shards, schedule, range(step, step + 1), slots))
            for step in range(_BATCHES)
        ]
        task = task_for(config, shards)
    state = make_state(config, len(task.skeleton.joints), torch.device("cpu"))
    for net in state.networks.values():
        net.train()
    steps = {
        "plain": (PoseStep(task, state.pose_net), ["pose"]),
        "joint": (JointStep(task, state.pose_net, state.asr_net, state.aho_net), ["pose", "asr", "aho"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(args.steps + _WARM_UP):
        for name, (module, trained) in steps.items():
            seconds[name].append(_timed(module, batches[turn % _BATCHES], state, trained))
    medians = {name: statistics.median(times[_WARM_UP:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {config.run.global_batch_size / median:.0f} images/s (median of {args.steps} steps)")
    print(f"joint / plain: {medians['joint'] / medians['plain']:.2f} plain steps; for the bound see benchmarks/nets.py")


def _timed(module: nn.Module, batch: CanvasBatch, state: TrainState, trained: list[str]) -> float:
    before = time.perf_counter()
    loss, _ = module(batch)
    for name in trained:
        state.optimizers[name].zero_grad(set_to_none=True)
    loss.backward()
    for name in trained:
        state.optimizers[name].step()
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
