"""What each of two processes does in the tests of data-parallel training; some of it a single process can do, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from tiny_run import TinyRun, fingerprint, make_run, shake, train_to
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ray_advpose.config import Config
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.draws import Augmentation
from ray_advpose.training.history import Validation
from ray_advpose.training.inputs import PoseInput
from ray_advpose.training.pose_step import PoseStep, Task
from ray_advpose.training.pretrain_step import PretrainStep
from ray_advpose.training.restoring import load_checkpoint, take_snapshot

WORKERS = 2


def on_two_workers(folder: Path, job: Callable[..., Any], *arguments: object) -> list[Any]:
    """Call ``job(rank, *arguments)`` in two processes of one gloo group; return what each returned."""
    torch.multiprocessing.spawn(_work, (folder, job, arguments), nprocs=WORKERS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORKERS)]


def _work(rank: int, folder: Path, job: Callable[..., Any], arguments: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=WORKERS)
    torch.save(job(rank, *arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()


def gradients(run: TinyRun) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": parameter.grad
        for name, net in run.state.networks.items()
        for key, parameter in net.named_parameters()
        if parameter.grad is not None
    }


def state_tensors(run: TinyRun) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value for name, net in run.state.networks.items() for key, value in net.state_dict().items()
    }


def step_and_run(rank: int, config: Config, shards: ShardSet) -> dict[str, Any]:
    """Take the first joint step's gradients, then train a whole run."""
    stepping = make_run(config, shards)
    module = DistributedDataParallel(stepping.joint_step())
    loss, _ = module(stepping.batch(0, rank, WORKERS))
    loss.backward()
    training = make_run(config, shards)
    buffers = []

    def validate() -> Validation:
        buffers.append(torch.cat([buffer.flatten().double() for buffer in training.state.pose_net.buffers()]))
        return Validation(float(len(buffers)))

    means = [record.means for record in training.epochs(training.batches(0, rank, WORKERS), validate)]
    return {
        "gradients": gradients(stepping),
        "state": state_tensors(training),
        "buffers": torch.stack(buffers),
        "means": means,
        "sweep_targets": training.state.sweep_targets,
    }


@dataclass(frozen=True)
class WatchedTask(Task):
    """Keeps every image that D is given, by global step and slot, in the order they are given."""

    images: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict)

    def see(self, batch: CanvasBatch, draw: Augmentation) -> PoseInput:
        seen = super().see(batch, draw)
        for slot, image in zip(batch.slot.tolist(), seen.image, strict=True):
            self.images.setdefault((batch.step, slot), []).append(image.clone())
        return seen


def exact_run(config: Config, shards: ShardSet) -> TinyRun:
    """A watched run in float64, where nothing but the order of summation tells two runs apart.

    In float32 optimisers that divide by a gradient's size would turn the rounding errors of gradients
    that are zero, as those of biases before a BatchNorm, into steps of full length.
    """
    run = make_run(config, shards, run__probe_images=0)
    for net in run.state.networks.values():
        net.double()
    run.state.pose_net.stem.register_forward_pre_hook(lambda stem, inputs: (inputs[0].double(),))
    return replace(run, task=WatchedTask(**vars(run.task)))


def whole_run(config: Config, shards: ShardSet, rank: int = 0, workers: int = 1) -> dict[str, Any]:
    """Train through the three stages.

    The metric is how many pixels the joints are off: after so few steps the share of joints found is 0.
    """
    run = exact_run(config, shards)
    scored = ScoredSplit(shards, "val", run.task)

    def pixels_off() -> Validation:
        off = scored.predictions(run.state.pose_net) - scored.truth.joints_px
        return Validation(float(np.abs(off)[scored.truth.annotated].mean()))

    records = list(run.epochs(run.batches(0, rank, workers), pixels_off))
    return {
        "state": state_tensors(run),
        "metrics": [record.metric for record in records],
        "means": [record.means for record in records],
        "images": run.task.images,
    }


def stage_gradients(config: Config, shards: ShardSet, rank: int = 0, workers: int = 1) -> dict[str, dict[str, Tensor]]:
    """The gradients of one step of every stage, averaged over the workers."""
    found = {}
    for stage in ("pose", "pretrain", "joint"):
        run = exact_run(config, shards)
        for net in run.state.networks.values():
            shake(net)
        state, module = run.state, run.joint_step()
        if stage == "pose":
            module = PoseStep(run.task, state.pose_net)
        if stage == "pretrain":
            cells = torch.tensor([0.4, 0.3, 0.2, 0.1])
            module = PretrainStep(run.task, state.pose_net, state.asr_net, state.aho_net, cells, {})
        if workers > 1:
            module = DistributedDataParallel(module)
        module(run.batch(0, rank, workers))[0].backward()
        found[stage] = gradients(run)
    return found


def norm_passes(norm: nn.BatchNorm2d, parts: list[Tensor], slopes: list[Tensor]) -> dict[str, Any]:
    """Run a norm on some batches and back, in turn; then look without gradient and in eval mode."""
    outputs, input_gradients = [], []
    for x, slope in zip(parts, slopes, strict=True):
        x = x.clone().requires_grad_()
        y = norm(x)
        # In place, as the nets' ReLUs are.
        (y.mul_(2).relu_() * slope).sum().backward()
        outputs.append(y.detach())
        input_gradients.append(x.grad)
    with torch.no_grad():
        outputs.append(norm(parts[0]))
        outputs.append(norm.eval()(parts[0]))
    affine = [parameter.grad for parameter in norm.parameters()]
    return {"outputs": outputs, "input": input_gradients, "affine": affine, "state": norm.state_dict()}


def whole_or_cut(rank: int, config: Config, shards: ShardSet, folder: Path, cut_at: int | None) -> dict[str, Any]:
    """Train a run, with ``cut_at`` through a checkpoint of that step and a fresh state; what it came to."""
    run = make_run(config, shards)
    if cut_at is not None:
        train_to(run, cut_at, rank, WORKERS)
        snapshot = take_snapshot(run.state)
        if rank == 0:
            write_checkpoint(folder / str(cut_at), snapshot, identity_of(shards))
        dist.barrier()
        run = make_run(config, shards)
        load_checkpoint(folder / str(cut_at), run.state, identity_of(shards))
    for _ in run.epochs(run.batches(run.state.step, rank, WORKERS)):
        pass
    tensors, records = fingerprint(run.state)
    return {"tensors": tensors, "records": records}
