"""Train one pose network with learned augmentation, or every arm of the ablation: ``python launch/train.py``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.arguments import add_run_arguments, chosen_config, overridden
from ray_advpose.cluster.run_card import read_card
from ray_advpose.cluster.single_run import SingleRun, conduct_run
from ray_advpose.config import Config
from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.object_place import check_public
from ray_advpose.data.shard_place import ShardPlace, shard_place
from ray_advpose.errors import UserError, run_command
from ray_advpose.presets import ARMS
from ray_advpose.search.arms import arms_search, conduct_arms, parse_arms
from ray_advpose.search.session import Means
from ray_advpose.search.stored import has_search
from ray_advpose.training.setting_changes import SettingChange, read_changes

_SEEDS = 3


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Run the three stages of joint training once, or once for each arm and seed.",
        epilog="The same command on the same --out goes on where it was cut. Exit codes: 0 done, 1 failed,"
        " 2 a mistake in what was given, 130 cut by Ctrl-C, 143 cut by SIGTERM.",
    )
    add_run_arguments(parser)
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    parser.add_argument(
        "--workers", metavar="N|MIN:MAX", help="training workers; a range follows the machines that there are"
    )
    parser.add_argument(
        "--storage", metavar="PLACE", help="folder or URI for checkpoints, e.g. s3://bucket/run (default: in --out)"
    )
    parser.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="FIELD",
        help="go on although this field, or 'data', is not what the run was trained with; repeatable",
    )
    parser.add_argument(
        "--schedule",
        type=Path,
        metavar="FILE",
        help="begin with the config in this file, and change settings as it says; a search leaves one as"
        " best_schedule.yaml",
    )
    parser.add_argument(
        "--arms",
        metavar="ARM[,ARM...]",
        help=f"train these arms and print them beside the paper's Table 1: {', '.join(ARMS)}, or all",
    )
    parser.add_argument("--seeds", type=int, help=f"seeds of each arm, from run.seed on (default: {_SEEDS})")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or go on with what is in the folder."""
    args = build_parser().parse_args(arguments)
    check_public(args.storage)
    if args.resume is not None:
        return conduct_run(_resumed(args), args.cluster)
    chosen, changes = _scheduled(args) if args.schedule else (chosen_config(args), [])
    config = _with_workers(chosen, args.workers)
    data = shard_place(args.data or embedded_data())
    output = (args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-train")).absolute()
    if args.arms is not None:
        return _train_arms(args, config, data, output)
    if args.seeds is not None:
        raise UserError("--seeds goes with --arms; a single run's seed is --set run.seed=N")
    if has_search(output):
        raise UserError(f"{output} holds a population, not a single run; name another --out")
    return conduct_run(SingleRun(config, data, output, args.storage, args.allow_change, changes), args.cluster)


def _scheduled(args: argparse.Namespace) -> tuple[Config, list[SettingChange]]:
    for name in ("config", "arms"):
        if getattr(args, name):
            raise UserError(f"--schedule {args.schedule} holds a config to begin with; --{name} does not go with it")
    config, changes = read_changes(args.schedule)
    return overridden(config, args.set), changes


def _resumed(args: argparse.Namespace) -> SingleRun:
    for name in ("config", "out", "arms", "seeds", "schedule"):
        if getattr(args, name):
            raise UserError(f"--resume goes on with the run in {args.resume}; --{name} does not go with it")
    card, saved, changes = read_card(args.resume)
    config = _with_workers(overridden(saved, args.set), args.workers)
    data = shard_place(args.data or card.data)
    storage = args.storage or card.storage
    return SingleRun(config, data, args.resume.absolute(), storage, args.allow_change, changes)


def _with_workers(config: Config, workers: str | None) -> Config:
    if workers is None:
        return config
    least, colon, most = workers.partition(":")
    try:
        counts = (int(least), int(most) if colon else None)
    except ValueError:
        raise UserError(f"--workers {workers}: expected a number, or a range such as 1:4") from None
    fixed = counts[1] is None
    return config.replaced(
        {"run.num_workers": counts[0] if fixed else counts[1], "run.min_workers": None if fixed else counts[0]},
        f"--workers {workers}",
    )


def _train_arms(args: argparse.Namespace, config: Config, data: ShardPlace, output: Path) -> int:
    if args.storage:
        raise UserError("--storage is for a single run, not for --arms")
    if set(args.allow_change) - {"code"}:
        raise UserError(f"--allow-change {args.allow_change[0]} is for a single run; arms take 'code' alone")
    seeds = _SEEDS if args.seeds is None else args.seeds
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: expected at least 1")
    search = arms_search(config, data, parse_arms(args.arms), seeds)
    repeated = [*sys.argv[1:], *([] if args.out else ["--out", str(output)])]
    return conduct_arms(
        search, output, Means(args.cluster), f"python launch/train.py {shlex.join(repeated)}", args.allow_change
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
