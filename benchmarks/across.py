"""Compare arms of two experiments on the same persons: ``python benchmarks/across.py DIR:ARM DIR:ARM``.

Each ``DIR`` is an ``--out`` of `launch/evidence.py` with its runs. Printed is the gain of the first arm over the
second, seed by seed; with ``--over ARM`` the first's gain over that arm of its own experiment, less the second's, as
for networks of two sizes, whose seeds have nothing to do with each other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ray_advpose.errors import UserError, run_command
from ray_advpose.evidence.comparison import ArmRun, compare
from ray_advpose.evidence.experiment import RUNS, read_experiment
from ray_advpose.pose.gain import Gain, gain_difference, paired_gain

_Arms = Mapping[str, Mapping[int, ArmRun]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the gain on the pictures as they are and, where it was measured, turned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs=2, metavar="DIR:ARM", help="an arm of an experiment")
    parser.add_argument("--over", metavar="ARM", help="compare gains over this arm")
    args = parser.parse_args(arguments)
    (first, ours), (second, theirs) = (_opened(each) for each in args.arms)
    for what in ("as they are", "turned"):
        try:
            gain = _gain(first, ours, second, theirs, args.over, what == "turned")
        except KeyError as error:
            print(f"{what}: lacks {error}")
        else:
            print(f"{what}: {gain}, by seed {' '.join(f'{each:+.2f}' for each in gain.by_seed)}")
    return 0


def _opened(given: str) -> tuple[_Arms, str]:
    folder, _, arm = given.partition(":")
    found = compare(read_experiment(Path(folder)), Path(folder) / RUNS).arms
    if len(found) != 1:
        raise UserError(f"{folder}: has {len(found)} numbers of training images, expected one")
    [arms] = found.values()
    if arm not in arms:
        raise UserError(f"{given}: {folder} has the arms {', '.join(arms)}")
    return arms, arm


def _gain(first: _Arms, ours: str, second: _Arms, theirs: str, over: str | None, turned: bool) -> Gain:
    def distances(arms: _Arms, name: str, seeds: Sequence[int]) -> list[np.ndarray]:
        runs = [arms[name][seed] for seed in seeds]
        return [run.robustness.relative["rotation"] if turned else run.score.relative for run in runs]

    threshold = next(iter(first[ours].values())).score.threshold
    if over is None:
        common = [seed for seed in first[ours] if seed in second[theirs]]
        return paired_gain(distances(first, ours, common), distances(second, theirs, common), threshold)
    pairs = []
    for arms, name in ((first, ours), (second, theirs)):
        common = [seed for seed in arms[name] if seed in arms[over]]
        pairs.append((distances(arms, name, common), distances(arms, over, common)))
    return gain_difference(pairs[0], pairs[1], threshold)


if __name__ == "__main__":
    sys.exit(run_command(main))
