"""The parts of Ray Tune that a search space asks for: scheduler, searcher, parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm

from ray_advpose.config import Config
from ray_advpose.search.domains import AnyDomain, Choice, LogUniform
from ray_advpose.search.exploiting_scheduler import ExploitingScheduler
from ray_advpose.search.lineage import LINEAGE
from ray_advpose.search.remembered import DECISIONS, RememberedScheduler
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping
from ray_advpose.search.space import SearchSpace

_TIME = "joint_epochs"


def make_scheduler(space: SearchSpace, trials: int, config: Config, data: Path, output: Path) -> TrialScheduler:
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


def parameters(overrides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return Tune's parameter space of trials that are known; empty where a searcher finds them."""
    return {"overrides": tune.grid_search(list(overrides))} if overrides else {}


def make_searcher(space: SearchSpace, seed: int, slots: int) -> SearchAlgorithm | None:
    """Return what finds the trials' overrides, None if they are known before."""
    if space.draw != "optuna":
        return None
    from optuna.samplers import TPESampler
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(
        space={f"overrides/{name}": _distribution(domain) for name, domain in space.fields.items()},
        metric="metric",
        mode="max",
        sampler=TPESampler(seed=seed),
    )
    return ConcurrencyLimiter(searcher, max_concurrent=slots)


def _distribution(domain: AnyDomain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    return FloatDistribution(domain.low, domain.high, log=isinstance(domain, LogUniform))
