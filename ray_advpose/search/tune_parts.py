"""The parts of Ray Tune that a search space asks for: its scheduler, and what makes its trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ray.tune.experiment import Experiment
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm

from ray_advpose.config import Config
from ray_advpose.search.domains import AnyDomain, Choice, LogUniform
from ray_advpose.search.exploiting_scheduler import ExploitingScheduler
from ray_advpose.search.found_trials import FoundTrials
from ray_advpose.search.lineage import LINEAGE
from ray_advpose.search.listed_trials import ListedTrials
from ray_advpose.search.remembered import DECISIONS, RememberedScheduler
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stored import Search

_TIME = "joint_epochs"


def make_scheduler(space: SearchSpace, trials: int, config: Config, data: str, output: Path) -> TrialScheduler:
    """Return the scheduler of a search; what it decides is kept below ``output``."""
    scheduling, joint_epochs = space.scheduling, config.stages.joint_epochs
    if isinstance(scheduling, Exploiting):
        return ExploitingScheduler(space, trials, config, data, output, output / LINEAGE)
    if isinstance(scheduling, Halving):
        inner: TrialScheduler = ASHAScheduler(
            time_attr=_TIME,
            max_t=joint_epochs,
            grace_period=min(scheduling.grace_joint_epochs, joint_epochs),
            reduction_factor=scheduling.reduction_factor,
        )
    elif isinstance(scheduling, MedianStopping):
        inner = MedianStoppingRule(
            time_attr=_TIME,
            grace_period=scheduling.grace_joint_epochs,
            min_samples_required=scheduling.least_others,
            # It would pause trials to let others come as far, which costs more than it tells.
            min_time_slice=math.inf,
        )
    else:
        return FIFOScheduler()
    return RememberedScheduler(inner, output / DECISIONS, _TIME)


def make_searcher(
    search: Search, experiment: Experiment, slots: int, most: int | None, goes_on: bool = False
) -> SearchAlgorithm:
    """Return what makes the trials.

    Args:
        search: Whose.
        experiment: What they have in common.
        slots: Trials that run at a time.
        most: Make no more than so many; None makes all.
        goes_on: Whether Tune has a record of trials that were made before.
    """
    space = search.space
    if space.draw != "optuna":
        return ListedTrials(experiment, search.overrides, most, goes_on)
    from optuna.samplers import TPESampler
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(
        space={f"overrides/{name}": _distribution(domain) for name, domain in space.fields.items()},
        metric="metric",
        mode="max",
        sampler=TPESampler(seed=search.config.run.seed),
    )
    trials = search.trials if most is None else min(most, search.trials)
    return FoundTrials(experiment, ConcurrencyLimiter(searcher, max_concurrent=slots), trials, goes_on)


def _distribution(domain: AnyDomain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    return FloatDistribution(domain.low, domain.high, log=isinstance(domain, LogUniform))
