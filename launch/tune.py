"""Search over jointly trained pose and augmentation networks: ``python launch/tune.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.arguments import add_run_arguments, chosen_config
from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.object_place import check_public
from ray_advpose.errors import UserError, run_command
from ray_advpose.search.budget import Budget
from ray_advpose.search.continuing import check_allowed, continued, extended, moved_data, what_is_kept
from ray_advpose.search.mirror_fetch import fetch_search
from ray_advpose.search.session import Means, conduct, new_search
from ray_advpose.search.space import load_space
from ray_advpose.search.stored import Search, has_search, read_search

_SPACES = Path(__file__).parent.parent / "search_spaces"
_LAYS_OUT = ("config", "set", "out", "search", "trials")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Run a population of joint-training trials and rank them.",
        epilog="The same command goes on where it was cut. In the end the folder holds ranked.md, best_config.yaml,"
        " best_checkpoint/ and validation.png. Exit codes: 0 done or the budget is used up, 1 nothing came of it,"
        " 2 a mistake in what was given, 130 cut by Ctrl-C, 143 cut by SIGTERM.",
    )
    add_run_arguments(parser)
    parser.add_argument("--search", type=Path, help="search-space file (default: search_spaces/quick.py)")
    parser.add_argument("--trials", type=int, help="number of trials (default: the search space's)")
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="trials at a time on a cluster that grows for them (default: what its nodes hold at the start)",
    )
    again = parser.add_argument_group("going on")
    again.add_argument(
        "--resume", metavar="DIR|URI", help="go on with the search in this folder, or with the copy of one at this URI"
    )
    again.add_argument("--extend", type=int, metavar="N", help="add N trials to a search that has ended")
    again.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="NAME",
        help="go on although this field, or 'space', 'data' or 'code', is not what the search was started with",
    )
    again.add_argument(
        "--storage", metavar="URI", help="keep a copy of the search there, e.g. s3://bucket/search, to go on from"
    )
    before = parser.add_argument_group("before it starts")
    before.add_argument("--plan", action="store_true", help="print what the search will take, and start nothing")
    before.add_argument("--calibrate", action="store_true", help="with --plan: measure the speed, which takes a minute")
    before.add_argument("--json", action="store_true", help="with --plan: print it for machines")
    before.add_argument("--check", action="store_true", help="ask every node whether it is fit, and start nothing")
    budget = parser.add_argument_group("budget, over all starts of a search; at its end checkpoints are taken")
    budget.add_argument("--max-hours", type=float, metavar="H", help="hours of wall time")
    budget.add_argument("--max-trials", type=int, metavar="N", help="trials that are started")
    budget.add_argument("--max-cost", type=float, metavar="C", help="cost at --price")
    budget.add_argument("--price", type=float, metavar="P", help="of an hour of a GPU, or of a CPU without GPUs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, start, go on with or extend a search."""
    args = build_parser().parse_args(arguments)
    check_public(args.storage, args.resume)
    for name in ("calibrate", "json"):
        if getattr(args, name) and not args.plan:
            raise UserError(f"--{name} goes with --plan")
    check_allowed(args.allow_change)
    if args.at_once is not None and not (args.cluster and args.at_once > 0):
        raise UserError(f"--at-once {args.at_once}: expected at least 1, and --cluster")
    budget = Budget(args.max_hours, args.max_trials, args.max_cost, args.price)
    means = Means(args.cluster, args.storage, budget, args.at_once)
    search, output = _resumed(args) if args.resume else _wanted(args)
    if args.plan or args.check:
        from ray_advpose.search.planning import show_check, show_plan

        if args.check:
            return show_check(search, output, means)
        return show_plan(search, output, means, args.calibrate, args.json)
    if has_search(output):
        print(what_is_kept(search, output), flush=True)
    return conduct(search, output, means)


def _wanted(args: argparse.Namespace) -> tuple[Search, Path]:
    """Lay out what the arguments say; go on with it if its folder holds it already."""
    base = chosen_config(args)
    file = args.search or _SPACES / "quick.py"
    space = load_space(file, base)
    trials = space.count() if args.trials is None else args.trials
    if trials < 1:
        raise UserError(f"--trials {trials}: expected at least 1")
    if space.draw == "grid" and trials > space.combinations:
        raise UserError(f"--trials {trials}: the grid of {file} has {space.combinations} combinations")
    overrides = space.drawn(trials, base.run.seed)
    search = new_search(base, args.data or embedded_data(), space, trials, overrides)
    output = (args.out or Path("runs") / f"{file.stem}-{search.digest}").absolute()
    if has_search(output):
        search = continued(search, read_search(output), output, args.allow_change)
    return _more_of(search, output, args), output


def _resumed(args: argparse.Namespace) -> tuple[Search, Path]:
    copied = "://" in args.resume
    given = [name for name in _LAYS_OUT if getattr(args, name) and not (copied and name == "out")]
    if given:
        raise UserError(f"--resume goes on with what {args.resume} holds; --{given[0]} cannot change it")
    output = Path(args.resume).absolute()
    if copied:
        name = args.resume.partition("?")[0].rstrip("/").rpartition("/")[2]
        output = (args.out or Path("runs") / name).absolute()
        fetch_search(args.resume, output)
    held = read_search(output)
    search = continued(moved_data(held, args.data), held, output, args.allow_change)
    return _more_of(search, output, args), output


def _more_of(search: Search, output: Path, args: argparse.Namespace) -> Search:
    if args.extend is None:
        return search
    if not has_search(output):
        raise UserError(f"--extend {args.extend}: there is no search in {output} yet; --trials says how many it has")
    return extended(search, args.extend, output)


if __name__ == "__main__":
    sys.exit(run_command(main))
