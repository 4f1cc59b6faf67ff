"""What tuning found best, as an experiment's numbers tell it and another experiment takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ray_advpose.data.identity import persons_digest
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError, first_problem
from ray_advpose.evidence.arms import JOINT, RANDOM
from ray_advpose.evidence.experiment import Experiment

NUMBERS = "evidence.json"


class Found(BaseModel, frozen=True, extra="forbid"):
    """The best settings of ``asr+aho`` and of random augmentation.

    Attributes:
        persons: Of the data they were found on (`persons_digest`).
        settings: By arm.
        came_to: Validation score and how it was found, in words, by arm.
    """

    persons: str
    settings: dict[str, dict[str, Any]]
    came_to: dict[str, str]


class _Numbers(BaseModel):
    tuned: Found | None = None


def tuned_numbers(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Return what an experiment's numbers say of its tuning: nothing if it did none or has not ended it.

    Args:
        experiment: Which one.
        folder: Of its runs.
    """
    tuned = experiment.tuned(folder)
    if tuned is None or not tuned.random:
        return {}
    how = f"the best of {len(experiment.drawn[RANDOM])} on {experiment.sizes[0]:,} images"
    came_to = experiment.taken or {arm: f"{score:.2f}, {how}" for arm, score in experiment.best_scores(folder).items()}
    settings = {JOINT: dict(tuned.joint), RANDOM: dict(tuned.random)}
    return {"tuned": Found(persons=experiment.persons, settings=settings, came_to=came_to).model_dump()}


def take_tuned(place: Path, shards: ShardSet) -> Found:
    """Return what the experiment in a folder found best; its page and numbers alone are enough.

    Raises:
        UserError: There are no such numbers, nothing was tuned or not to the end, or it was on other persons.
    """
    path = place / NUMBERS
    try:
        numbers = _Numbers.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"--tuned {place}: cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(f"--tuned {place}: {path}: {first_problem(error)}") from None
    found = numbers.tuned
    if found is None:
        raise UserError(f"--tuned {place}: nothing was tuned there, or it has not ended")
    if not found.settings.keys() == found.came_to.keys() == {JOINT, RANDOM}:
        raise UserError(f"--tuned {place}: {path} tells of {', '.join(found.settings)}, not of {JOINT} and {RANDOM}")
    if found.persons != persons_digest(shards):
        raise UserError(
            f"--tuned {place}: tuned on other data, whose persons to validate on may be among those to test on here"
        )
    return found
