"""What each of two processes does in the tests of data-parallel training."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from tiny_run import TinyRun, make_run
from torch.nn.parallel import DistributedDataParallel

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet

WORKERS = 2


def gradients(run: TinyRun) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": parameter.grad
        for name, net in run.state.networks.items()
        for key, parameter in net.named_parameters()
        if parameter.grad is not None
    }


def state_tensors(run: TinyRun) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value for name, net in run.state.networks.items() for key, value in net.state_dict().items()
    }


def work(rank: int, folder: Path, config: Config, shards: ShardSet) -> None:
    """Take the first joint step's gradients, then train a whole run; leave everything in ``folder``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS)
    stepping = make_run(config, shards)
    module = DistributedDataParallel(stepping.joint_step())
    loss, _ = module(stepping.batch(0, rank, WORKERS))
    loss.backward()
    training = make_run(config, shards)
    buffers = []

    def validate() -> float:
        buffers.append(torch.cat([buffer.flatten().double() for buffer in training.state.pose_net.buffers()]))
        return float(len(buffers))

    means = [record.means for record in training.epochs(training.batches(0, rank, WORKERS), validate)]
    found = {
        "gradients": gradients(stepping),
        "state": state_tensors(training),
        "buffers": torch.stack(buffers),
        "means": means,
        "sweep_targets": training.state.sweep_targets,
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
