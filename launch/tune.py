"""Search over jointly trained pose and augmentation networks: ``python launch/tune.py``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.arguments import add_run_arguments, chosen_config
from ray_advpose.data.embedded import embedded_data
from ray_advpose.errors import UserError, run_command
from ray_advpose.search.session import conduct, new_search
from ray_advpose.search.space import load_space
from ray_advpose.search.stored import has_search, read_search

_SPACES = Path(__file__).parent.parent / "search_spaces"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Run a population of joint-training trials and rank them.",
        epilog="In the end the folder holds ranked.md, best_config.yaml, best_checkpoint/ and validation.png.",
    )
    add_run_arguments(parser)
    parser.add_argument("--search", type=Path, help="search-space file (default: search_spaces/quick.py)")
    parser.add_argument("--trials", type=int, help="number of trials (default: the search space's)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with a search that was cut")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Start or resume a search."""
    args = build_parser().parse_args(arguments)
    if args.resume:
        given = [name for name in ("data", "config", "set", "out", "search", "trials") if getattr(args, name)]
        if given:
            raise UserError(f"--resume goes on with what {args.resume} holds; --{given[0]} cannot change it")
        return conduct(read_search(args.resume), args.resume.absolute(), args.cluster)
    base = chosen_config(args)
    file = args.search or _SPACES / "quick.py"
    space = load_space(file, base)
    trials = space.count() if args.trials is None else args.trials
    if trials < 1:
        raise UserError(f"--trials {trials}: expected at least 1")
    if space.draw == "grid" and trials > space.combinations:
        raise UserError(f"--trials {trials}: the grid of {file} has {space.combinations} combinations")
    output = args.out or Path("runs") / time.strftime(f"%Y%m%d-%H%M%S-{file.stem}")
    if has_search(output):
        raise UserError(f"{output} holds a search already; go on with it by --resume {output}, or name another --out")
    overrides = space.drawn(trials, base.run.seed)
    search = new_search(base, args.data or embedded_data(), space, trials, overrides)
    return conduct(search, output.absolute(), args.cluster)


if __name__ == "__main__":
    sys.exit(run_command(main))
