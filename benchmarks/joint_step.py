"""What a joint step costs beside a plain one, and a plain one beside a bare PyTorch loop.

``python benchmarks/joint_step.py`` times the three on one batch, in turn, in one process, for the
preset's network in several sizes, and prints the median of the ratios of each turn beside the
counted bound, 1 + 2/9 + (2/3) G/F: what the joint step must cost if nothing is done twice and
nothing but convolutions costs anything.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from nets import count_costs
from torch import Tensor

from ray_advpose.config import Config
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.data.task import task_for
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import random_augmentation
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pose_step import PoseStep, StepResult, Task
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.state import TrainState, make_state

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_EXTRA_TURNS = 15
_COLUMNS = (
    "plain, images/s",
    "plain / bare",
    "plain's extra work",
    "joint / plain",
    "counted bound",
    "over bound",
    "G/F",
)


@dataclass(frozen=True)
class Ratios:
    """Medians over the turns of one size.

    Attributes:
        plain_s: Seconds of a plain step.
        plain_over_bare: Plain step over bare loop.
        joint_over_plain: Joint step over plain step.
        extra: What a plain step does beyond the bare loop (draws, warp, targets, loss by person), timed by
            itself, over the plain step. Where whole steps drift by more than it, this is the figure to trust.
    """

    plain_s: float
    plain_over_bare: float
    joint_over_plain: float
    extra: float


def main() -> None:
    """Print a row for each size of the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="paper-residual", choices=PRESETS, help="(default: %(default)s)")
    parser.add_argument("--sizes", nargs="+", default=["1x1", "1x3", "4x3"], help="stacks x blocks a unit")
    parser.add_argument("--batch", type=int, default=12, help="images (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=12, help="timed turns of each size (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="PyTorch's threads (default: its own choice)")
    parser.add_argument("--precision", default="float32", help="run.precision (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="have torch.compile make both halves of the pose net")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    _keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    how = f"{args.precision}{', compiled' if args.compile else ''}"
    print(f"{args.preset}, batches of {args.batch}, {how}, {_machine(device)}, medians of {args.turns} turns\n")
    print(f"| stacks x blocks | {' | '.join(_COLUMNS)} |")
    print("|---|" + "---:|" * len(_COLUMNS))
    for size in args.sizes:
        stacks, blocks = map(int, size.split("x"))
        config = preset_named(args.preset).replaced(
            {
                "net.stacks": stacks,
                "net.blocks_per_unit": blocks,
                "run.global_batch_size": args.batch,
                "run.precision": args.precision,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            ratios, joints = measure(config, Path(folder), args.turns, device, args.compile)
        costs = count_costs(config, joints)
        print(
            f"| {size} | {args.batch / ratios.plain_s:.2f} | {ratios.plain_over_bare:.3f} | {ratios.extra:.2%}"
            f" | {ratios.joint_over_plain:.3f} | {costs.joint_bound:.3f}"
            f" | {ratios.joint_over_plain / costs.joint_bound:.3f} | {costs.g_over_f:.3f} |",
            flush=True,
        )


def measure(
    config: Config, folder: Path, turns: int, device: torch.device, compiled: bool = False
) -> tuple[Ratios, int]:
    """Time the three steps in turn; return medians and the number of joints."""
    batch_size = config.run.global_batch_size
    write_shards(generate_synthetic(persons=batch_size * 2, image_px=256), folder / "shards", config.net.input_px)
    shards = ShardSet.open(folder / "shards")
    config = config.replaced({"stages.pretrain_images": None})
    schedule = make_schedule(config, shards.count("train"))
    batch = CanvasBatch.from_rows(0, read_steps(shards, schedule, range(1), np.arange(batch_size))).to(device)
    task = task_for(config, shards)
    state = make_state(config, len(task.skeleton.joints), device)
    for net in state.networks.values():
        net.train()
    if compiled:
        for half in ("descend", "ascend"):
            setattr(state.pose_net, half, torch.compile(getattr(state.pose_net, half)))
    plain = PoseStep(task, state.pose_net)
    joint = JointStep(task, state.pose_net, state.asr_net, state.aho_net)
    seen = task.see(batch, random_augmentation(config, 0).to(device))

    def bare() -> StepResult:
        return (state.pose_net(seen.image) - seen.target[:, None]).square().mean(), {}

    steps: dict[str, tuple[Callable[[], StepResult], list[str]]] = {
        "bare": (bare, ["pose"]),
        "plain": (lambda: plain(batch), ["pose"]),
        "joint": (lambda: joint(batch), ["pose", "asr", "aho"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    orders = list(permutations(steps))
    for turn in range(turns + 1):
        # In all orders equally often: what ran before leaves its mark on caches and allocator.
        for name in orders[turn % len(orders)]:
            step, trained = steps[name]
            taken = _timed(step, state, trained, device)
            if turn:
                seconds[name].append(taken)
    return (
        Ratios(
            plain_s=statistics.median(seconds["plain"]),
            plain_over_bare=_median_ratio(seconds["plain"], seconds["bare"]),
            joint_over_plain=_median_ratio(seconds["joint"], seconds["plain"]),
            extra=_extra_s(task, batch) / statistics.median(seconds["plain"]),
        ),
        len(task.skeleton.joints),
    )


def _timed(step: Callable[[], StepResult], state: TrainState, trained: list[str], device: torch.device) -> float:
    wanted = state.config.run.precision == "bfloat16"
    _finish(device)
    before = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=wanted, cache_enabled=False):
        loss: Tensor = step()[0]
    for name in trained:
        state.optimizers[name].zero_grad(set_to_none=True)
    loss.backward()
    for name in trained:
        state.optimizers[name].step()
    _finish(device)
    return time.perf_counter() - before


def _extra_s(task: Task, batch: CanvasBatch) -> float:
    """Return the seconds of a plain step's work beyond a bare loop's."""
    side, net = task.config.net.heatmap_px, task.config.net
    shape = (len(batch), net.stacks, len(task.skeleton.joints), side, side)
    heatmaps = torch.rand(shape, device=batch.canvas.device, requires_grad=True)
    ready = task.see(batch, random_augmentation(task.config, 0).to(batch.canvas.device))

    def plain() -> None:
        seen = task.see(batch, random_augmentation(task.config, batch.step).to(batch.canvas.device))
        task.losses(heatmaps, seen).mean().backward()

    def bare() -> None:
        (heatmaps - ready.target[:, None]).square().mean().backward()

    def median_s(run: Callable[[], None]) -> float:
        taken = []
        for _ in range(_EXTRA_TURNS):
            _finish(batch.canvas.device)
            before = time.perf_counter()
            run()
            _finish(batch.canvas.device)
            taken.append(time.perf_counter() - before)
        return statistics.median(taken)

    return median_s(plain) - median_s(bare)


def _keep_memory() -> None:
    """Let glibc keep what is freed instead of giving it back to the kernel after every step.

    The page faults of getting it again cost a plain step at the paper's size a fifth of its time, and the
    same images in thirds far less: the joint step would seem to cost less than what it computes.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _median_ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"


if __name__ == "__main__":
    main()
