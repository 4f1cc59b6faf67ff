"""Search over jointly trained pose and augmentation networks: ``python launch/tune.py``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.config import load_config, parse_override
from ray_advpose.data.embedded import embedded_data
from ray_advpose.errors import UserError, run_command
from ray_advpose.presets import PRESETS, preset_named
from ray_advpose.search.population import has_search, read_search
from ray_advpose.search.session import conduct, new_search
from ray_advpose.search.space import load_space

_SPACES = Path(__file__).parent.parent / "search_spaces"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Run a population of joint-training trials and rank them.",
        epilog="In the end the folder holds ranked.md, best_config.yaml, best_checkpoint/ and validation.png.",
    )
    parser.add_argument("--data", type=Path, help="prepared data (default: the embedded drawn people)")
    parser.add_argument("--search", type=Path, default=_SPACES / "quick.py", help="search-space file")
    parser.add_argument("--preset", default="quick", help=f"base config: {', '.join(PRESETS)} (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="base config from a YAML file instead of a preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the base config"
    )
    parser.add_argument("--trials", type=int, help="number of trials (default: the search space's)")
    parser.add_argument("--out", type=Path, help="folder of the search (default: a new one below runs/)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with a search that was cut")
    parser.add_argument(
        "--cluster",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="use a running Ray cluster (default address: RAY_ADDRESS, or the one on this machine)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Start or resume a search."""
    args = build_parser().parse_args(arguments)
    if args.resume:
        return conduct(read_search(args.resume), args.resume.absolute(), args.cluster)
    base = load_config(args.config) if args.config else preset_named(args.preset)
    base = base.replaced(dict(parse_override(text) for text in args.set), "--set")
    space = load_space(args.search, base)
    trials = space.trials if args.trials is None else args.trials
    if trials < 1:
        raise UserError(f"--trials {trials}: expected at least 1")
    output = args.out or Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{args.search.stem}")
    if has_search(output):
        raise UserError(f"{output} holds a search already; go on with it by --resume {output}, or name another --out")
    search = new_search(base, args.data or embedded_data(), space, trials)
    return conduct(search, output.absolute(), args.cluster)


if __name__ == "__main__":
    sys.exit(run_command(main))
