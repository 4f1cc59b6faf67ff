"""Trials given to Tune one after the other, under numbers; here those whose settings are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from ray_advpose.errors import UserError
from ray_advpose.search.places import trial_number

_NAME = "trial"


class ListedTrials(SearchAlgorithm):
    """Makes a Tune trial of each entry of a list, which may have grown by the time a search goes on.

    Tune's own grid remembers the grid it was started with.

    Args:
        experiment: What trials have in common.
        overrides: The settings of each trial.
        most: Make no more than so many; None makes all.
        goes_on: Whether Tune has a record of trials that were made before.
    """

    def __init__(
        self,
        experiment: Experiment,
        overrides: Sequence[Mapping[str, Any]],
        most: int | None = None,
        goes_on: bool = False,
    ) -> None:
        self._experiment = experiment
        self._overrides = overrides
        self._most = len(overrides) if most is None else min(most, len(overrides))
        self._made = 0
        self._goes_on = goes_on
        self._parser = _make_parser()

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._most

    def add_configurations(self, experiments: Any) -> None:
        """See `SearchAlgorithm`; called for a search that begins, not for one that goes on.

        Raises:
            UserError: Tune could not read its record and would begin anew beside what was trained.
        """
        check_begins(self._experiment, self._goes_on)

    def next_trial(self) -> Trial | None:
        """Return the next trial, None after the last."""
        if self.is_finished():
            return None
        number, self._made = self._made, self._made + 1
        return make_trial(self._experiment, self._parser, number, self._overrides[number])

    def is_finished(self) -> bool:
        """Whether all trials have been made."""
        return self._made >= self._most

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether there is a record of a former process."""
        return bool(_records(dirpath))

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """See `SearchAlgorithm`; what Tune records of its trials says which have been made."""

    def restore_from_dir(self, dirpath: str) -> None:
        """Go on after the trials that Tune knows of."""
        self._made = made_before(recorded_trials(dirpath))


def check_begins(experiment: Experiment, goes_on: bool) -> None:
    """Check that a search which Tune is about to begin has not been begun before.

    Raises:
        UserError: Tune could not read its record and would begin anew beside what was trained.
    """
    if goes_on:
        raise UserError(f"{experiment.path}: Tune cannot read its newest record, experiment_state-*.json")


def trial_name(number: int) -> str:
    """Return the name of a search's trial."""
    return f"{_NAME}_{number:05d}"


def make_trial(experiment: Experiment, parser: Any, number: int, overrides: Mapping[str, Any]) -> Trial:
    """Return a new trial of a search, by its number and its settings."""
    spec = {**experiment.spec, "config": {"overrides": dict(overrides)}}
    return _create_trial_from_spec(spec, parser, experiment_tag=str(number), trial_id=trial_name(number))


def recorded_trials(folder: str) -> dict[str, str]:
    """Return the trials that Tune knows of in its newest record, and their states; none where there is no record."""
    records = _records(folder)
    known = json.loads(records[-1].read_text(encoding="utf-8"))["trial_data"] if records else []
    trials = [json.loads(trial) for trial, _ in known]
    return {trial["trial_id"]: trial["status"] for trial in trials}


def made_before(trials: Iterable[str]) -> int:
    """Return how many trials have been made, by the names of those that are known."""
    return max((trial_number(name) + 1 for name in trials), default=0)


def _records(folder: str) -> list[Path]:
    # Their names hold the time.
    return sorted(Path(folder).glob("experiment_state-*.json"))
