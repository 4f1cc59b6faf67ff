"""Cut a training run at random and compare it with the same run undisturbed: ``python launch/drill.py``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ray_advpose.arguments import add_run_arguments, overridden
from ray_advpose.config import load_config
from ray_advpose.data.checks import check_data
from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.object_place import check_public
from ray_advpose.data.shard_place import shard_place
from ray_advpose.drill.drill import Drill, Verdict, run_drill
from ray_advpose.drill.faults import Fault, Kind, draw_faults, parse_fault
from ray_advpose.errors import UserError, run_command
from ray_advpose.presets import preset_named
from ray_advpose.training.schedule import make_schedule

_FAULTS = 6
# Small enough to be done in a minute, long enough to be cut within every stage.
_SMALL = {
    "net.channels": 8,
    "net.input_px": 32,
    "net.poolings": 2,
    "stages.pose_epochs": 4,
    "stages.pretrain_epochs": 4,
    "stages.joint_epochs": 4,
}
_ALWAYS = {"run.deterministic": True, "run.log_samples": True, "run.checkpoint_every_s": 2.0}
_LOG_COLUMNS = 120


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    kinds = "; ".join(f"{kind}: {kind.meaning}" for kind in Kind)
    parser = argparse.ArgumentParser(
        description="Train twice, once whole and once under faults, and compare weights and samples.",
        epilog=f"Faults: {kinds}. On a cluster that is not the drill's own, nodes are left alone."
        " Exit codes: 0 equal, 1 not equal or not brought to an end, 2 a mistake in what was given.",
    )
    add_run_arguments(parser)
    parser.add_argument("--faults", type=int, help=f"how many, at random steps (default: {_FAULTS})")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="FAULT@STEP", help="this one at this step; repeatable"
    )
    parser.add_argument("--kinds", metavar="FAULT[,FAULT...]", help="draw these only (default: all that are possible)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing of faults (default: %(default)s)")
    parser.add_argument("--storage", metavar="PLACE", help="folder or URI for checkpoints, e.g. s3://bucket/drill")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a drill and print its verdict."""
    args = build_parser().parse_args(arguments)
    check_public(args.storage)
    base = load_config(args.config) if args.config else preset_named(args.preset).replaced(_SMALL)
    config = overridden(base.replaced(_ALWAYS), args.set)
    data = shard_place(args.data or embedded_data())
    shards = check_data(config, data)
    output = (args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-drill")).absolute()
    if output.exists():
        raise UserError(f"{output} exists; a drill starts in a folder of its own")
    total_steps = make_schedule(config, shards.count("train")).total_steps
    drill = Drill(
        config=config,
        data=data,
        output=output,
        script=Path(__file__).with_name("train.py").absolute(),
        faults=_faults(args, total_steps),
        address=args.cluster,
        storage=args.storage,
    )
    started = time.monotonic()
    try:
        verdict = run_drill(drill, say=lambda text: print(f"[{time.monotonic() - started:.0f} s] {text}", flush=True))
    except RuntimeError as error:
        print(f"the drill failed: {error}", file=sys.stderr)
        return 1
    _show(verdict)
    return 0 if verdict.passed else 1


def _faults(args: argparse.Namespace, total_steps: int) -> list[Fault]:
    kinds = [parse_fault(f"{name}@0").kind for name in args.kinds.split(",")] if args.kinds else list(Kind)
    given = [parse_fault(text) for text in args.fault]
    if args.cluster is not None:
        asked = [*(fault.kind for fault in given), *(kinds if args.kinds else [])]
        if away := [kind for kind in asked if kind.needs_own_nodes]:
            raise UserError(f"{away[0]} ({away[0].meaning}) is what a drill does not do to a cluster of yours")
        kinds = [kind for kind in kinds if not kind.needs_own_nodes]
    for fault in given:
        if not 0 < fault.step < total_steps:
            raise UserError(f"--fault {fault.kind}@{fault.step}: the run has {total_steps} steps")
    if given:
        return sorted(given, key=lambda fault: fault.step)
    return draw_faults(_FAULTS if args.faults is None else args.faults, kinds, total_steps, args.seed)


def _show(verdict: Verdict) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _LOG_COLUMNS
    faults = Table("fault", "at step", "last whole checkpoint", "went on at", "trained again", "next step after")
    for outcome in verdict.outcomes:
        again = max(0, outcome.at_step - outcome.resumed_step)
        figures = (outcome.at_step, outcome.checkpoint_step, outcome.resumed_step, again)
        faults.add_row(outcome.fault.kind, *map(str, figures), f"{outcome.recovery_s:.1f} s")
    console.print(faults)
    checks = Table("question", "answer", "found")
    for check in verdict.checks:
        checks.add_row(check.question, "yes" if check.passed else "NO", check.found)
    console.print(checks)


if __name__ == "__main__":
    sys.exit(run_command(main))
