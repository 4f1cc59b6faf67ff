"""Train one pose network with learned augmentation: ``python launch/train.py``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.arguments import add_run_arguments, chosen_config
from ray_advpose.cluster.runtime import cluster_size, joined_ray, local_ray
from ray_advpose.cluster.trainer import check_same_run, latest_checkpoint, run_training
from ray_advpose.data.checks import check_data
from ray_advpose.data.embedded import embedded_data
from ray_advpose.errors import run_command
from ray_advpose.search.plan import local_cpus, plan_layout


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Run the three stages of joint training once.")
    add_run_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or go on with the run in the folder."""
    args = build_parser().parse_args(arguments)
    config = chosen_config(args)
    data = (args.data or embedded_data()).absolute()
    check_data(config, data)
    output = (args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-train")).absolute()
    print(f"{output}: {config.preset} on {data}", flush=True)
    check_same_run(config, output)
    with joined_ray(args.cluster) if args.cluster else local_ray(local_cpus(config, trials=1)):
        plan_layout(config, 1, **cluster_size())
        history = run_training(config, data, output)
    best = max(history, key=lambda record: record.metric)
    print(f"best score {best.metric:.2f} at step {best.step}; last checkpoint {latest_checkpoint(output)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
