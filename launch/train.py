"""Train one pose network with learned augmentation, or every arm of the ablation: ``python launch/train.py``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.arguments import add_run_arguments, chosen_config
from ray_advpose.cluster.runtime import cluster_size, joined_ray, local_ray
from ray_advpose.cluster.trainer import check_same_run, latest_checkpoint, run_training
from ray_advpose.config import Config
from ray_advpose.data.checks import check_data
from ray_advpose.data.embedded import embedded_data
from ray_advpose.errors import UserError, run_command
from ray_advpose.presets import ARMS
from ray_advpose.search.arms import arms_search, conduct_arms, parse_arms
from ray_advpose.search.plan import local_cpus, plan_layout
from ray_advpose.search.population import has_search

_SEEDS = 3


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Run the three stages of joint training once, or once for each arm and seed.",
        epilog="The same command on the same --out goes on where it was cut.",
    )
    add_run_arguments(parser)
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
    config = chosen_config(args)
    data = (args.data or embedded_data()).absolute()
    output = (args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-train")).absolute()
    if args.arms is not None:
        return _train_arms(args, config, data, output)
    if args.seeds is not None:
        raise UserError("--seeds goes with --arms; a single run's seed is --set run.seed=N")
    check_data(config, data)
    if has_search(output):
        raise UserError(f"{output} holds a population, not a single run; name another --out")
    print(f"{output}: {config.preset} on {data}", flush=True)
    check_same_run(config, output)
    with joined_ray(args.cluster) if args.cluster else local_ray(local_cpus(config, trials=1)):
        plan_layout(config, 1, **cluster_size())
        history = run_training(config, data, output)
    best = max(history, key=lambda record: record.metric)
    print(f"best score {best.metric:.2f} at step {best.step}; last checkpoint {latest_checkpoint(output)}")
    return 0


def _train_arms(args: argparse.Namespace, config: Config, data: Path, output: Path) -> int:
    seeds = _SEEDS if args.seeds is None else args.seeds
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: expected at least 1")
    search = arms_search(config, data, parse_arms(args.arms), seeds)
    repeated = [*sys.argv[1:], *([] if args.out else ["--out", str(output)])]
    return conduct_arms(search, output, args.cluster, f"python launch/train.py {shlex.join(repeated)}")


if __name__ == "__main__":
    sys.exit(run_command(main))
