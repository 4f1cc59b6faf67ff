"""How the settings of a copy are changed: at random (PBT), or by what changes did before (PB2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ray_advpose.search.domains import AnyDomain, Choice
from ray_advpose.search.exploit import Explorer, Standing, perturbed
from ray_advpose.search.gains import gains_of, promising
from ray_advpose.search.lineage import Lineage
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace

# Fields that are valid one by one may not go together, such as many cells and a small grid.
_ATTEMPTS = 20


def make_explorer(
    space: SearchSpace,
    scheduling: Exploiting,
    lineage: Lineage,
    is_valid: Callable[[Mapping[str, Any]], bool] = lambda settings: True,
) -> Explorer:
    """Return the explorer that a population is to use at its next moment of decision.

    Args:
        space: Domains of the fields.
        scheduling: What may change, and how.
        lineage: What has been tried, and what came of it.
        is_valid: Whether settings make a config; the explorer tries again if they do not.
    """
    if scheduling.explore == "perturb":
        return partial(_first_valid, partial(_perturb, space.fields, scheduling), is_valid)
    return partial(_first_valid, _Bandit(space.fields, scheduling, lineage), is_valid)


def _first_valid(
    explore: Callable[[Standing, int, np.random.Generator], dict[str, Any]],
    is_valid: Callable[[Mapping[str, Any]], bool],
    donor: Standing,
    recipient: int,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    for _ in range(_ATTEMPTS):
        if is_valid(settings := explore(donor, recipient, rng)):
            return settings
    return None


def _perturb(
    domains: Mapping[str, AnyDomain], scheduling: Exploiting, donor: Standing, recipient: int, rng: np.random.Generator
) -> dict[str, Any]:
    return perturbed(donor.overrides, domains, scheduling.mutate, scheduling.resample_probability, rng)


class _Bandit:
    """Moves choices at random and has the numbers chosen by a Gaussian process over the gains so far."""

    def __init__(self, domains: Mapping[str, AnyDomain], scheduling: Exploiting, lineage: Lineage) -> None:
        self._domains = domains
        self._scheduling = scheduling
        self._numbers = [name for name in scheduling.mutate if not isinstance(domains[name], Choice)]
        self._gains = gains_of(lineage, self._numbers)
        self._chosen: list[np.ndarray] = []

    def __call__(self, donor: Standing, recipient: int, rng: np.random.Generator) -> dict[str, Any]:
        settings = perturbed(
            donor.overrides, self._domains, self._scheduling.mutate, self._scheduling.resample_probability, rng
        )
        if not self._numbers:
            return settings
        low, high = self._bounds()
        point = promising(self._gains, donor.barrier, donor.score, low, high, self._chosen, rng)
        if point is None:  # nothing to learn from yet
            return settings
        self._chosen.append(point)
        return settings | dict(zip(self._numbers, map(float, point), strict=True))

    def _bounds(self) -> tuple[Sequence[float], Sequence[float]]:
        extremes = [self._domains[name].extremes for name in self._numbers]
        return [low for low, _ in extremes], [high for _, high in extremes]
