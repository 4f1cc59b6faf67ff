"""Trials whose settings are known, given to Tune one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

_STATE = "listed_trials.json"
_NAME = "trial"


class ListedTrials(SearchAlgorithm):
    """Makes a Tune trial of each entry of a list, which may have grown by the time a search goes on.

    Tune's own grid remembers the grid it was started with.

    Args:
        experiment: What trials have in common.
        overrides: The settings of each trial.
        most: Make no more than so many; None makes all.
    """

    def __init__(self, experiment: Experiment, overrides: Sequence[Mapping[str, Any]], most: int | None = None) -> None:
        self._experiment = experiment
        self._overrides = overrides
        self._most = len(overrides) if most is None else min(most, len(overrides))
        self._made = 0
        self._parser = _make_parser()

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._most

    def add_configurations(self, experiments: Any) -> None:
        """See `SearchAlgorithm`; the experiment is known."""

    def next_trial(self) -> Trial | None:
        """Return the next trial, None after the last."""
        if self.is_finished():
            return None
        number, self._made = self._made, self._made + 1
        spec = {**self._experiment.spec, "config": {"overrides": dict(self._overrides[number])}}
        return _create_trial_from_spec(spec, self._parser, experiment_tag=str(number), trial_id=f"{_NAME}_{number:05d}")

    def is_finished(self) -> bool:
        """Whether all trials have been made."""
        return self._made >= self._most

    def has_checkpoint(self, dirpath: str) -> bool:
        """See `SearchAlgorithm`."""
        return Path(dirpath, _STATE).is_file()

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """Write how many trials have been made."""
        partial = Path(dirpath, f".{_STATE}.partial")
        partial.write_text(json.dumps({"made": self._made}), encoding="utf-8")
        partial.replace(Path(dirpath, _STATE))

    def restore_from_dir(self, dirpath: str) -> None:
        """Go on after the trials that a former process made."""
        self._made = json.loads(Path(dirpath, _STATE).read_text(encoding="utf-8"))["made"]
