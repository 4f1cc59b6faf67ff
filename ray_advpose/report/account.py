"""What a run, a search or a set of arms has come to so far: all that its report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ray_advpose.pose.score import Score
from ray_advpose.report.population_figure import Part
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.training.history import EpochRecord


@dataclass(frozen=True)
class Predicted:
    """Predictions on the validation split.

    Attributes:
        score: What they are worth.
        caption: The definition behind the score.
        predictions_px: (N, J, 2) in original-image pixels.
        person_id: Names of the N persons.
    """

    score: Score
    caption: str
    predictions_px: np.ndarray
    person_id: list[str]


@dataclass(frozen=True)
class Account:
    """A run, a search or a set of arms.

    Attributes:
        kind: Which of them.
        name: Of its folder.
        running: Whether a process is training in it.
        ended: Trials that have come to an end, one way or another.
        trials: How many there are to be.
        troubles: Sentences on what failed or cannot be read.
        score_name: What trials are ranked by, e.g. ``PCK@0.2``.
        block: ``residual`` or ``dense``, which half of the paper's tables to stand beside.
        facts: Data, software and the like, as name and value.
        outcomes: The trials that have begun.
        labels: What trials are called beside their names, by name; for arms.
        compared: What is set side by side, by name and seed; the first is what the others are compared with.
        compared_is: In words.
        joint_history: The run whose augmentation networks are shown; empty for none.
        joint_name: What it is called.
        random_history: A run of the same seed without them, to compare with; empty for none.
        inputs: JPEG of what its networks saw last; None for none.
        parts: Stretches of trials that copied each other; empty if they did not.
        copies: A row for each copy: moment, who, from whom, scores, changes.
        best_config: The best trial's config; None before there is one.
        best_schedule: The settings that led to it, where they changed; None else.
        data: Place of the prepared data.
        fingerprint: Of the data it was trained on; "" where that is not known.
        cost: What it took, as name and value.
    """

    kind: Literal["run", "search", "arms"]
    name: str
    running: bool
    ended: int
    trials: int
    troubles: Sequence[str]
    score_name: str
    block: str
    facts: Sequence[tuple[str, str]]
    outcomes: Sequence[TrialOutcome]
    compared: Mapping[str, Mapping[int, Predicted]]
    compared_is: str
    data: str
    fingerprint: str
    cost: Sequence[tuple[str, str]]
    labels: Mapping[str, str] = field(default_factory=dict)
    joint_history: Sequence[EpochRecord] = ()
    joint_name: str = ""
    random_history: Sequence[EpochRecord] = ()
    inputs: bytes | None = None
    parts: Sequence[Part] = ()
    copies: Sequence[Sequence[str]] = ()
    best_config: str | None = None
    best_schedule: str | None = None
