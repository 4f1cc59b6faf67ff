"""A population that takes no time to train: its score is a function of settings and of what it copied."""

from __future__ import annotations

from dataclasses import replace

from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.exploit import Exploit, Standing, decide
from ray_advpose.search.explorers import make_explorer
from ray_advpose.search.lineage import Lineage
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace

FIELDS = {
    "reward.alpha": Uniform(0.05, 0.9),
    "optim.joint_lr": LogUniform(1e-5, 1e-2),
    "asr.scale_bins": Choice((5, 7, 9)),
}


def space(explore: str = "perturb", **more) -> SearchSpace:
    return SearchSpace(FIELDS, 8, Exploiting(tuple(FIELDS), explore=explore, **more))


class Stop(Exception):
    """The search was killed."""


class Population:
    """Trains trials from barrier to barrier, taking up what a lineage file says was done before.

    Args:
        lineage: The file.
        events_left: Lines it may write before it is killed.
    """

    def __init__(self, lineage, events_left=None, explore="perturb", trials=8, seed=5):
        self.space, self.seed = space(explore), seed
        self.lineage = Lineage(lineage)
        self.events_left = events_left
        self.initial = self.space.drawn(trials, seed)

    def run(self, barriers: int) -> list[Exploit]:
        for barrier in range(self.lineage.decided + 1, barriers + 1):
            there = self.lineage.standings(barrier)
            for trial in range(len(self.initial)):
                if trial not in there:
                    self._write(self.lineage.add_standing, self._trained(trial, barrier))
            standings = list(self.lineage.standings(barrier).values())
            explore = make_explorer(self.space, self.space.scheduling, self.lineage)
            exploits = decide(standings, self.space.scheduling, self.seed, explore)
            self._write(self.lineage.add_decision, barrier, exploits)
        return self.lineage.exploits

    def _trained(self, trial: int, barrier: int) -> Standing:
        """Gain the more, the closer alpha is to a place that wanders off."""
        exploit = self.lineage.last_exploit(trial)
        before = self.lineage.standings(barrier - 1).get(trial)
        start = 0.0 if before is None else before.score
        if exploit is not None and exploit.barrier == barrier - 1:
            start = exploit.donor_score
        overrides = exploit.overrides if exploit else self.initial[trial]
        gain = 1 - abs(overrides["reward.alpha"] - 0.1 * barrier) + 0.01 * overrides["asr.scale_bins"]
        standing = Standing(
            trial, barrier, exploit.generation if exploit else 0, overrides, start + gain, 100 * barrier, f"/{trial}"
        )
        return replace(standing, score=round(standing.score, 9))

    def _write(self, write, *arguments):
        if self.events_left == 0:
            raise Stop
        write(*arguments)
        if self.events_left is not None:
            self.events_left -= 1
