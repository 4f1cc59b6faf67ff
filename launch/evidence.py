"""Compare learned augmentation with random augmentation and controls, without Ray: ``python launch/evidence.py``."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ray_advpose.arguments import add_config_arguments, chosen_config
from ray_advpose.cluster.run_card import alone_in
from ray_advpose.cluster.software import software
from ray_advpose.config import Config
from ray_advpose.data.checks import check_data
from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.identity import persons_digest
from ray_advpose.data.persons import SPLITS
from ray_advpose.data.shard_place import shard_place
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError, run_command
from ray_advpose.evidence.arms import (
    JOINT,
    MEANINGS,
    RANDOM,
    TUNED,
    Tuned,
    kind_of,
    parse_arms,
    varied_by,
)
from ray_advpose.evidence.experiment import RUNS, TUNING_SEED, Experiment, begin
from ray_advpose.evidence.findings import write_findings
from ray_advpose.evidence.held import decode_split
from ray_advpose.evidence.processes import Place, train_runs
from ray_advpose.evidence.terms import check_settings, check_variants, on_equal_terms
from ray_advpose.evidence.tuned import NUMBERS, take_tuned
from ray_advpose.search.space import load_space

_SPACES = Path(__file__).parent.parent / "search_spaces"
_UNFINISHED = 75  # of sysexits.h: try again
_Draws = dict[str, list[dict[str, Any]]]  # by arm that is tuned


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Train every arm and control from the same stage 1 of each seed, and compare their predictions.",
        epilog="The same command on the same --out goes on where it was cut. Exit codes: 0 done, 1 failed,"
        f" 2 a mistake in what was given, {_UNFINISHED} time is up and runs are left, 130 cut by Ctrl-C.",
    )
    add_config_arguments(parser)
    parser.add_argument("--seeds", type=int, default=3, help="of every arm, from run.seed on (default: %(default)s)")
    parser.add_argument(
        "--arms",
        metavar="ARM,ARM",
        help=f"what to compare (default: all): {', '.join(MEANINGS)}; a variant is an arm with settings of its own,"
        " e.g. asr+aho:reward.reward_by=pckh",
    )
    parser.add_argument(
        "--sizes", metavar="N,N", help="numbers of training images to compare on, in as many steps (default: all)"
    )
    parser.add_argument(
        "--tune",
        type=int,
        default=0,
        metavar="N",
        help="settings to try of both networks together, and as many of random augmentation (default: none)",
    )
    parser.add_argument(
        "--tuned",
        type=Path,
        metavar="DIR",
        help="take the settings that tuning found best in another --out, or in a folder of docs/evidence",
    )
    parser.add_argument(
        "--joint-space",
        type=Path,
        help="with --tune, what is tuned of joint training (default: search_spaces/evidence_joint.py)",
    )
    parser.add_argument(
        "--random-space",
        type=Path,
        help="with --tune, what is tuned of random augmentation (default: search_spaces/evidence_random.py)",
    )
    parser.add_argument("--parallel", type=int, help="runs at a time (default: the CPUs, with a GPU at most 4)")
    parser.add_argument("--threads", type=int, default=1, help="of each run's CPU operations (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="stop after this time, with a checkpoint of every run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is left of the experiment and write its findings."""
    started = time.time()
    args = build_parser().parse_args(arguments)
    # A stop from outside is one from the keyboard: runs leave checkpoints. Where a shell has started this in the
    # background, Ctrl-C's signal would be ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    config = on_equal_terms(chosen_config(args))
    data = shard_place(args.data or embedded_data())
    output = (args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S-evidence")).absolute()
    shards = check_data(config, data)
    experiment = _experiment(args, config, shards)
    parallel = _default_parallel() if args.parallel is None else args.parallel
    for name, value in (("--parallel", parallel), ("--threads", args.threads)):
        if value < 1:
            raise UserError(f"{name} {value}: expected at least 1")
    with alone_in(output):
        return _conduct(args, experiment, shards, output, parallel, started)


def _conduct(
    args: argparse.Namespace, experiment: Experiment, shards: ShardSet, output: Path, parallel: int, started: float
) -> int:
    begin(experiment, output)
    data = shards.place
    place = Place(data, output / "canvases", output / RUNS)
    for split in SPLITS:
        if shards.count(split):
            decode_split(shards, split, place.canvases, threads=os.cpu_count() or 1)
    deadline = None if args.minutes is None else started + 60 * args.minutes
    done = train_runs(lambda: experiment.runs(place.runs), place, parallel, args.threads, deadline)
    page = write_findings(experiment, output, persons_digest(shards), _machine(parallel))
    if page is not None:
        print(page)
    if not done:
        print(f"time is up; the same command with --out {output} goes on")
        return _UNFINISHED
    return 0


def _experiment(args: argparse.Namespace, config: Config, shards: ShardSet) -> Experiment:
    if args.seeds < 1 or args.tune < 0:
        raise UserError(f"--seeds {args.seeds} --tune {args.tune}: expected at least one seed, and no trial or more")
    seeds = [config.run.seed + number for number in range(args.seeds)]
    if TUNING_SEED in seeds:
        raise UserError(f"seed {TUNING_SEED} is what settings are tuned with; set another run.seed")
    drawn, taken = _drawn(args, config, shards) if args.tuned is None else _taken(args, config, shards)
    return Experiment(
        config=config.model_dump(),
        fingerprint=shards.fingerprint,
        arms=_arms(args, config, shards, drawn),
        seeds=seeds,
        sizes=_sizes(args, config, shards.count("train")),
        drawn=drawn,
        taken=taken,
    )


def _drawn(args: argparse.Namespace, config: Config, shards: ShardSet) -> tuple[_Draws, dict[str, str]]:
    """Return what to tune by, and nothing for what it came to, which is not known yet."""
    for name, space in (("--joint-space", args.joint_space), ("--random-space", args.random_space)):
        if space is not None and not args.tune:
            raise UserError(f"{name} {space}: needs --tune, the number of settings to draw from it")
    spaces = {
        JOINT: args.joint_space or _SPACES / "evidence_joint.py",
        RANDOM: args.random_space or _SPACES / "evidence_random.py",
    }
    drawn = {
        arm: load_space(path, config).drawn(args.tune, TUNING_SEED) if args.tune else [] for arm, path in spaces.items()
    }
    for arm, draws in drawn.items():
        if len(draws) != args.tune:
            raise UserError(
                f"{spaces[arm]} gives {len(draws)} settings where --tune asks for {args.tune}; evidence needs them all"
                " beforehand, as draw = 'latin' or 'random' gives them"
            )
    _check_drawn(drawn, spaces, config, shards)
    return drawn, {}


def _taken(args: argparse.Namespace, config: Config, shards: ShardSet) -> tuple[_Draws, dict[str, str]]:
    """Return what another experiment found best, and what that came to there."""
    for name, given in (("tune", args.tune), ("joint-space", args.joint_space), ("random-space", args.random_space)):
        if given:
            raise UserError(f"--{name} {given}: nothing is drawn or tried with --tuned, which takes what was")
    found = take_tuned(args.tuned, persons_digest(shards))
    drawn = {arm: [settings] for arm, settings in found.settings.by_arm.items()}
    _check_drawn(drawn, dict.fromkeys(drawn, args.tuned / NUMBERS), config, shards)
    return drawn, found.came_to.by_arm


def _check_drawn(drawn: _Draws, places: Mapping[str, Path], config: Config, shards: ShardSet) -> None:
    for settings in drawn[JOINT]:
        check_settings(JOINT, Tuned(joint=settings, random={}), str(places[JOINT]), config, shards)
    for settings in drawn[RANDOM]:
        check_settings(TUNED, Tuned(joint={}, random=settings), str(places[RANDOM]), config, shards)


def _arms(args: argparse.Namespace, config: Config, shards: ShardSet, drawn: _Draws) -> list[str]:
    wanted = list(MEANINGS) if args.arms is None else parse_arms(args.arms)
    if TUNED in map(kind_of, wanted) and not args.tune and args.tuned is None:
        if args.arms is not None:
            raise UserError(f"--arms: {TUNED!r} needs --tune, the number of settings to try, or --tuned")
        wanted.remove(TUNED)
    # What tuning will find best is not known yet.
    possible = [Tuned(*pair) for pair in zip(drawn[JOINT], drawn[RANDOM], strict=True)] or [Tuned({}, {})]
    for tuned in possible:
        for arm in filter(varied_by, wanted):
            check_settings(arm, tuned, f"--arms {arm}", config, shards)
        check_variants(wanted, tuned, config)
    return wanted


def _sizes(args: argparse.Namespace, config: Config, whole: int) -> list[int]:
    try:
        sizes = [whole] if args.sizes is None else [int(size) for size in args.sizes.split(",")]
    except ValueError:
        raise UserError(f"--sizes {args.sizes}: expected numbers, e.g. 500,1000") from None
    for size in sizes:
        if not config.run.global_batch_size <= size <= whole:
            raise UserError(
                f"--sizes {size}: expected from {config.run.global_batch_size}, a batch, to {whole}, all there are"
            )
    return sorted(set(sizes), reverse=True)


def _default_parallel() -> int:
    cpus = os.cpu_count() or 1
    return min(cpus, 4) if torch.cuda.is_available() else cpus


def _machine(parallel: int) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    cpus = f"{os.cpu_count()} CPUs ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
    code = f"torch {torch.__version__}, ray_advpose {software()['ray_advpose']}"
    return f"Machine: {cpus}, {device}, {code}; {parallel} run{'s' * (parallel > 1)} at a time"


if __name__ == "__main__":
    sys.exit(run_command(main))
