"""Search spaces: which fields of a config a population explores, within which bounds.

A space is a Python file that sets ``SPACE``; see `search_spaces/`.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ray_advpose.config import Config
from ray_advpose.counter import Purpose, generator
from ray_advpose.errors import UserError


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a Choice needs at least one value")

    def at(self, quantile: float) -> Any:
        """Return the value at a quantile in [0, 1)."""
        return self.values[int(quantile * len(self.values))]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be valid for the domain to be."""
        return self.values


@dataclass(frozen=True)
class Uniform:
    """Any number between two bounds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Uniform({self.low}, {self.high}): the first bound must be below the second")

    def at(self, quantile: float) -> float:
        """Return the value at a quantile in [0, 1)."""
        return self.low + quantile * (self.high - self.low)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be valid for the domain to be."""
        return (self.low, self.high)


@dataclass(frozen=True)
class LogUniform:
    """Any number between two positive bounds, evenly in its logarithm."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"LogUniform({self.low}, {self.high}): the bounds must be positive and rising")

    def at(self, quantile: float) -> float:
        """Return the value at a quantile in [0, 1)."""
        return math.exp(math.log(self.low) + quantile * math.log(self.high / self.low))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be valid for the domain to be."""
        return (self.low, self.high)


Domain = Choice | Uniform | LogUniform

_FIXED = ("run.", "stages.")


@dataclass(frozen=True)
class SearchSpace:
    """What a population explores.

    Attributes:
        trials: How many configurations are tried, unless the command says otherwise.
        fields: A domain for each dotted config field.
        grace_joint_epochs: Epochs of stage 3 that every trial gets before it can be stopped; what a
            space usually varies has no effect before.
        reduction_factor: At each rung, one in this many trials goes on (asynchronous successive halving).
    """

    trials: int
    fields: Mapping[str, Domain]
    grace_joint_epochs: int = 1
    reduction_factor: int = 2

    def draw(self, trials: int, seed: int) -> list[dict[str, Any]]:
        """Draw the trials' overrides: a Latin hypercube, so that each field is covered evenly.

        Two values of a choice are both tried as soon as there are two trials, which independent
        draws would not promise.
        """
        rng = generator(seed, Purpose.SEARCH_DRAW)
        quantiles = {name: (rng.permutation(trials) + np.asarray(rng.random(trials))) / trials for name in self.fields}
        return [
            {name: domain.at(float(quantiles[name][trial])) for name, domain in self.fields.items()}
            for trial in range(trials)
        ]

    def checked(self, base: Config, source: str) -> SearchSpace:
        """Return the space after trying every bound of every field on the base config.

        Raises:
            UserError: A field that does not exist or a bound that the field does not allow.
        """
        for name, value, valid in (
            ("trials", self.trials, self.trials >= 1),
            ("grace_joint_epochs", self.grace_joint_epochs, self.grace_joint_epochs >= 1),
            ("reduction_factor", self.reduction_factor, self.reduction_factor >= 2),
            ("fields", self.fields, len(self.fields) > 0),
        ):
            if not valid:
                raise UserError(f"{source}: SPACE.{name} = {value!r} is out of bounds")
        for name, domain in self.fields.items():
            if not isinstance(domain, Domain):
                raise UserError(f"{source}: {name} = {domain!r} is no Choice, Uniform or LogUniform")
            if name.startswith(_FIXED):
                raise UserError(f"{source}: {name} cannot be searched: machines and budget are planned for all trials")
            for value in domain.extremes:
                base.replaced({name: value}, source)
        return self


def load_space(path: Path, base: Config) -> SearchSpace:
    """Run a search-space file and check what it sets.

    Raises:
        UserError: The file is missing, fails, sets no ``SPACE``, or names an unknown field or a value
            out of bounds.
    """
    if not path.is_file():
        raise UserError(f"there is no search space {path}")
    try:
        space = runpy.run_path(str(path)).get("SPACE")
    except Exception as error:
        raise UserError(f"search space {path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(space, SearchSpace):
        raise UserError(f"search space {path} sets no SPACE = SearchSpace(...), but {type(space).__name__}")
    return space.checked(base, str(path))
