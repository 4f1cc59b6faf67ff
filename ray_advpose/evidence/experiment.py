"""An experiment as its folder holds it: what it compares, which runs that takes, what tuning has found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray_advpose.config import Config, config_from_dict
from ray_advpose.errors import UserError
from ray_advpose.evidence.arms import JOINT, RANDOM, Run, Tuned, arm_runs, stage_one, tuning_runs
from ray_advpose.evidence.one_run import RESULT, is_done

EXPERIMENT, RUNS = "experiment.json", "runs"
TUNING_SEED = 1000
"""No arm is trained with it: what was tuned on a seed would suit that seed."""

_MAY_GROW = ("arms", "seeds")
"""Runs of more of these stand beside those there are; anything else would change what these were."""
_IN_WORDS = dict.fromkeys(("drawn", "taken"), "settings to tune by (--tune, --tuned, or the files of the spaces)")


@dataclass(frozen=True)
class Experiment:
    """What is compared on which terms.

    Attributes:
        config: What all runs have in common.
        fingerprint: Of the data.
        arms: What is compared, in the order of `MEANINGS`, variants behind their arm.
        seeds: Of every arm.
        sizes: Numbers of training images, the largest first, which is tuned on; on fewer a run takes as many steps.
        drawn: Settings to tune ``asr+aho`` and random augmentation by, equally many of each; may be empty.
        taken: If these are what another experiment on the same persons found best, what they came to there, by arm.
    """

    config: dict[str, Any]
    fingerprint: str
    arms: list[str]
    seeds: list[int]
    sizes: list[int]
    drawn: dict[str, list[dict[str, Any]]]
    taken: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> Config:
        """The common config."""
        return config_from_dict(self.config, EXPERIMENT)

    def runs(self, folder: Path) -> Iterator[Run]:
        """Return the runs that are known by now, in the order to begin them."""
        base, largest = self.base, self.sizes[0]
        tuning = self._tuning()
        if tuning:
            yield stage_one(base, TUNING_SEED, largest)
        yield from (stage_one(base, seed, largest) for seed in self.seeds)
        yield from tuning
        yield from (stage_one(base, seed, size) for size in self.sizes[1:] for seed in self.seeds)
        tuned = self.tuned(folder)
        if tuned is not None:
            for size in self.sizes:
                yield from arm_runs(base, self.arms, self.seeds, size, tuned)

    def tuned(self, folder: Path) -> Tuned | None:
        """Return the settings that were taken, or whose runs scored highest on validation; None until all have."""
        runs = self._tuning()
        if not all(is_done(folder, run.name) for run in runs):
            return None
        best: dict[str, Mapping[str, Any]] = {arm: draws[0] if draws else {} for arm, draws in self.drawn.items()}
        for arm, draws in self.drawn.items():
            scores = [result_of(folder, run.name)["val"] for run in runs if run.arm == arm]
            if scores:
                best[arm] = draws[scores.index(max(scores))]
        return Tuned(joint=best[JOINT], random=best[RANDOM])

    def best_scores(self, folder: Path) -> dict[str, float]:
        """Return the validation score that each arm's best settings came to, once all have ended."""
        runs = self._tuning()
        return {arm: max(result_of(folder, run.name)["val"] for run in runs if run.arm == arm) for arm in self.drawn}

    def _tuning(self) -> list[Run]:
        if self.taken:
            return []
        return tuning_runs(self.base, TUNING_SEED, self.sizes[0], self.drawn)


def result_of(folder: Path, run_name: str) -> dict[str, Any]:
    """Return what a run that has ended came to."""
    found: dict[str, Any] = json.loads((folder / run_name / RESULT).read_text(encoding="utf-8"))
    return found


def begin(experiment: Experiment, output: Path) -> None:
    """Write an experiment into its folder, or check that it is the one there, but for more arms and seeds.

    Raises:
        UserError: It is another one.
    """
    path = output / EXPERIMENT
    wanted = json.loads(json.dumps(asdict(experiment)))
    if path.exists():
        there = read_experiment(output)
        # With the fields that have come since, at their defaults, which are what it was begun with.
        found = {**asdict(there), "config": json.loads(json.dumps(there.base.model_dump()))}
        for name, value in wanted.items():
            grown = name in _MAY_GROW and set(found[name]) <= set(value)
            if found[name] != value and not grown:
                more = " or more" if name in _MAY_GROW else ""
                what = _IN_WORDS.get(name, name)
                raise UserError(f"{path} was begun with other {what}; name another --out, or give the same{more}")
        if found == wanted:
            return
    output.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    beside.rename(path)


def read_experiment(output: Path) -> Experiment:
    """Return the experiment in a folder; `UserError` if there is none."""
    path = output / EXPERIMENT
    try:
        return Experiment(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no experiment: {error}") from None
