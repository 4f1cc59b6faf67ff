"""What tuning found best, as an experiment's numbers tell it and another experiment takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ray_advpose.errors import UserError, first_problem
from ray_advpose.evidence.arms import JOINT, RANDOM
from ray_advpose.evidence.experiment import Experiment

NUMBERS = "evidence.json"

Kind = TypeVar("Kind")


class OfBoth(BaseModel, Generic[Kind]):
    """One of each of the two that are tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    joint: Kind = Field(alias=JOINT)
    random: Kind = Field(alias=RANDOM)

    @property
    def by_arm(self) -> dict[str, Kind]:
        """The two by the arms they are of."""
        return {JOINT: self.joint, RANDOM: self.random}


class Found(BaseModel, frozen=True, extra="forbid"):
    """The best settings of ``asr+aho`` and of random augmentation.

    Attributes:
        persons: Of the data they were found on (`persons_digest`).
        settings: By name.
        came_to: Validation score and how it was found, in words.
    """

    persons: str
    settings: OfBoth[dict[str, Any]]
    came_to: OfBoth[str]


class _Numbers(BaseModel):
    tuned: Found | None = None


def tuned_numbers(experiment: Experiment, folder: Path, persons: str) -> dict[str, Any]:
    """Return what an experiment's numbers say of its tuning: nothing if it did none or has not ended it.

    Args:
        experiment: Which one.
        folder: Of its runs.
        persons: Of its data (`persons_digest`).
    """
    tuned = experiment.tuned(folder)
    if tuned is None or not tuned.random:
        return {}
    how = f"the best of {len(experiment.drawn[RANDOM])} on {experiment.sizes[0]:,} images"
    came_to = experiment.taken or {arm: f"{score:.2f}, {how}" for arm, score in experiment.best_scores(folder).items()}
    found = Found(
        persons=persons,
        settings=OfBoth(joint=dict(tuned.joint), random=dict(tuned.random)),
        came_to=OfBoth(joint=came_to[JOINT], random=came_to[RANDOM]),
    )
    return _Numbers(tuned=found).model_dump(by_alias=True)


def take_tuned(place: Path, persons: str) -> Found:
    """Return what the experiment in a folder found best; its numbers alone are enough.

    Args:
        place: The folder.
        persons: Of the data that the settings are to be used on (`persons_digest`).

    Raises:
        UserError: There are no such numbers, they tell of nothing tuned, or it was tuned on other persons.
    """
    path = place / NUMBERS
    try:
        found = _Numbers.model_validate_json(path.read_bytes()).tuned
    except OSError as error:
        raise UserError(
            f"--tuned {place}: cannot read {path}, which an experiment writes when its tuning has ended:"
            f" {error.strerror}"
        ) from None
    except ValidationError as error:
        raise UserError(f"--tuned {place}: {path}: {first_problem(error)}") from None
    if found is None:
        raise UserError(
            f"--tuned {place}: {path} tells of nothing that was tuned; if something was, the experiment's own command"
            " writes it anew"
        )
    if found.persons != persons:
        raise UserError(
            f"--tuned {place}: tuned on other persons ({found.persons}, here {persons}); those to validate on there may"
            " be among those to test on here"
        )
    return found
