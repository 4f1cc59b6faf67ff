"""What becomes of a population's trials while they train: which are stopped, which copy others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

_ACTS_LATER = ("asr.", "aho.", "reward.", "optim.", "random.", "loss.")


@dataclass(frozen=True)
class RunAll:
    """Every trial is trained to its end: plain random or grid search."""

    kind: Literal["run_all"] = "run_all"

    def __str__(self) -> str:
        return "each trained to its end"


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving (ASHA, Li et al. 2020).

    Attributes:
        grace_joint_epochs: Epochs of stage 3 that every trial gets before it can be stopped; what a
            space usually varies has no effect before.
        reduction_factor: At each rung, one in this many trials goes on.
    """

    grace_joint_epochs: int = 1
    reduction_factor: int = 2
    kind: Literal["halving"] = "halving"

    def __str__(self) -> str:
        return (
            f"one in {self.reduction_factor} goes on at each rung of stage 3, the first after"
            f" {self.grace_joint_epochs} epoch(s)"
        )

    def __post_init__(self) -> None:
        _at_least("grace_joint_epochs", self.grace_joint_epochs, 1)
        _at_least("reduction_factor", self.reduction_factor, 2)


@dataclass(frozen=True)
class MedianStopping:
    """A trial is stopped once its best score is below the median of the others' running means (Golovin et al. 2017).

    Attributes:
        grace_joint_epochs: Epochs of stage 3 that every trial gets before it can be stopped.
        least_others: How many others must have come as far.
    """

    grace_joint_epochs: int = 1
    least_others: int = 3
    kind: Literal["median"] = "median"

    def __str__(self) -> str:
        return f"stopped below the median of the others after {self.grace_joint_epochs} epoch(s) of stage 3"

    def __post_init__(self) -> None:
        _at_least("grace_joint_epochs", self.grace_joint_epochs, 1)
        _at_least("least_others", self.least_others, 1)


@dataclass(frozen=True)
class Exploiting:
    """Population based training (Jaderberg et al. 2017), or PB2 (Parker-Holder et al. 2020).

    Every few epochs of stage 3 the trials wait for each other. Then the worst copy everything that
    one of the best has, networks, optimisers and settings, and go on with some settings changed.

    Attributes:
        mutate: Fields that are changed in a copy; each must have a domain in the search space.
        every_joint_epochs: Epochs of stage 3 between two such moments.
        fraction: Share of the population that copies, and share that is copied from.
        resample_probability: How often a field is drawn anew instead of moved a little.
        explore: ``perturb`` changes fields at random; ``bandit`` (PB2) has a Gaussian process choose
            numbers by what they did for the score so far, and needs scikit-learn.
    """

    mutate: tuple[str, ...]
    every_joint_epochs: int = 1
    fraction: float = 0.25
    resample_probability: float = 0.25
    explore: Literal["perturb", "bandit"] = "perturb"
    kind: Literal["exploiting"] = "exploiting"

    def __str__(self) -> str:
        return (
            f"the worst {100 * self.fraction:.0f} % copy the best every {self.every_joint_epochs} epoch(s) of stage 3"
        )

    def __post_init__(self) -> None:
        _at_least("every_joint_epochs", self.every_joint_epochs, 1)
        if isinstance(self.mutate, str) or not self.mutate:
            raise ValueError(f"mutate = {self.mutate!r}: expected names of fields, such as ('reward.alpha',)")
        if not 0 < self.fraction <= 0.5:
            raise ValueError(f"fraction = {self.fraction}: expected more than 0 and at most 0.5")
        if not 0 <= self.resample_probability <= 1:
            raise ValueError(f"resample_probability = {self.resample_probability}: expected 0 to 1")
        for name in self.mutate:
            # Networks of D and the kind of optimiser cannot change under weights that have been trained.
            if not name.startswith(_ACTS_LATER) or name == "optim.optimizer" or name.endswith((".enabled", ".policy")):
                raise ValueError(f"{name} cannot change within a trial")


Scheduling = Annotated[RunAll | Halving | MedianStopping | Exploiting, Field(discriminator="kind")]


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} = {value}: expected at least {least}")
