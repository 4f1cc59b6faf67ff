"""How long training stands still for a checkpoint, and how much slower it is while one is written.

Trains stage 1 on noise and takes checkpoints as a run does: a snapshot in the training thread, the
rest in the background. Epochs with checkpoints and without alternate, so that whatever else the
machine does falls on both alike.

    python benchmarks/checkpoint.py                      # the laptop's network
    python benchmarks/checkpoint.py --preset paper-residual --stacks 1 --seconds 60
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ray_advpose.cluster.saving import CheckpointSaver, checkpoint_saver
from ray_advpose.cluster.storage import store_at
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.training.checkpoint import DataIdentity
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import TrainState, make_state

_JOINTS = 14


@dataclass(frozen=True)
class Stretch:
    """Seconds of a stretch of steps, and what of them the training thread stood still for."""

    seconds: float
    stall_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what checkpoints cost training.")
    parser.add_argument("--preset", default="lspet-small", choices=list(PRESETS), help="(default: %(default)s)")
    parser.add_argument("--stacks", type=int, help="stacks of the network (default: the preset's)")
    parser.add_argument("--batch", type=int, default=12, help="images a step (default: %(default)s)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between checkpoints (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each stretch (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=4, help="stretches of each kind (default: %(default)s)")
    parser.add_argument("--place", help="folder or URI to write to (default: a temporary folder)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = preset_named(args.preset)
    if args.stacks:
        config = config.replaced({"net.stacks": args.stacks})
    state = make_state(config, _JOINTS, torch.device("cpu"))
    image = torch.rand(args.batch, 3, config.net.input_px, config.net.input_px)
    _steps(state, image, count=2)  # the optimiser makes its state at its first step
    started = time.perf_counter()
    _steps(state, image, count=2)
    count = max(2, round(args.seconds * 2 / (time.perf_counter() - started)))
    with tempfile.TemporaryDirectory() as scratch:
        place = args.place or scratch
        data = DataIdentity("0" * 16, "lspet", "lsp", 72, 32)
        with checkpoint_saver(store_at(place), data, 2, lambda _: None, logging.getLogger("benchmark")) as saver:
            stretches: dict[bool, list[Stretch]] = {False: [], True: []}
            for pair in range(args.pairs):
                for saving in (False, True) if pair % 2 else (True, False):
                    stretches[saving].append(_stretch(state, image, count, saver if saving else None, args.every))
        size = sum(path.stat().st_size for path in Path(scratch).rglob("*")) if args.place is None else 0
    _show(stretches, args.every, size)


def _stretch(
    state: TrainState, image: torch.Tensor, count: int, saver: CheckpointSaver | None, every_s: float
) -> Stretch:
    started = last = time.perf_counter()
    stall_s = 0.0
    for _ in range(count):
        _steps(state, image, count=1)
        state.step += 1
        before = time.perf_counter()
        if saver is not None and before - last >= every_s:
            saver.save(take_snapshot(state))
            last = time.perf_counter()
            stall_s += last - before
    return Stretch(time.perf_counter() - started, stall_s)


def _steps(state: TrainState, image: torch.Tensor, count: int) -> None:
    state.pose_net.train()
    for _ in range(count):
        loss = state.pose_net(image).square().mean()
        state.optimizers["pose"].zero_grad(set_to_none=True)
        loss.backward()
        state.optimizers["pose"].step()


def _show(stretches: dict[bool, list[Stretch]], every_s: float, size: int) -> None:
    stall = [stretch.stall_s / stretch.seconds for stretch in stretches[True]]
    slower = [
        saving.seconds / plain.seconds - 1 for saving, plain in zip(stretches[True], stretches[False], strict=True)
    ]
    table = Table("checkpoint every", "bytes kept", "standing still", "slower in all, median", "slower in all, range")
    table.add_row(
        f"{every_s:g} s",
        f"{size / 2**20:.1f} MiB",
        f"{100 * statistics.median(stall):.2f} %",
        f"{100 * statistics.median(slower):.2f} %",
        f"{100 * min(slower):.2f} to {100 * max(slower):.2f} %",
    )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
