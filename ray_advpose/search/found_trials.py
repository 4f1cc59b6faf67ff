"""Trials whose settings a searcher finds from what became of the former ones."""

from __future__ import annotations

import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator

from ray_advpose.search.listed_trials import check_begins, made_before, make_trial, recorded_trials, trial_name
from ray_advpose.search.places import trial_folders


class FoundTrials(SearchGenerator):
    """Asks a searcher for so many trials, also where a former start of the search was to make more or fewer.

    Tune's own would go on with the number of trials, and in the folder, that the search began with.

    Args:
        experiment: What trials have in common.
        searcher: Finds their settings, as ``{"overrides": ...}``.
        trials: How many there are to be.
        goes_on: Whether Tune has a record of trials that were made before.
    """

    def __init__(self, experiment: Experiment, searcher: ConcurrencyLimiter, trials: int, goes_on: bool) -> None:
        super().__init__(searcher)
        self._experiment = experiment
        self._total_samples = trials
        self._counter = 0
        self._goes_on = goes_on
        self._untold: set[str] = set()

    def add_configurations(self, experiments: Any) -> None:
        """As `ListedTrials.add_configurations`."""
        check_begins(self._experiment, self._goes_on)

    def next_trial(self) -> Trial | None:
        """Return the next trial; None after the last, and while there is nothing to learn from yet."""
        if self.is_finished():
            return None
        found = self.searcher.suggest(trial_name(self._counter))
        if found == Searcher.FINISHED:
            self._finished = True
        if found in (None, Searcher.FINISHED):
            return None
        number, self._counter = self._counter, self._counter + 1
        return make_trial(self._experiment, self._parser, number, found["overrides"])

    def get_state(self) -> dict[str, Any]:
        """See `SearchGenerator`; the experiment is each start's own."""
        return {**super().get_state(), "experiment": None}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `SearchGenerator`."""
        super().set_state({**state, "experiment": self._experiment, "total_samples": self._total_samples})

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether there is a record of a former process."""
        return bool(recorded_trials(dirpath))

    def restore_from_dir(self, dirpath: str) -> None:
        """Go on after the trials that Tune knows of, of which the searcher's own record may know less."""
        slots = self.searcher.max_concurrent
        if super().has_checkpoint(dirpath):
            super().restore_from_dir(dirpath)
        # The number of trials at a time is of the cluster that there was then.
        self.searcher.max_concurrent = slots
        known = recorded_trials(dirpath)
        self._counter = made_before(known)
        self._forget_unknown(known)
        unfinished = {trial_id for trial_id, status in known.items() if status != Trial.TERMINATED}
        self._untold = unfinished - self.searcher.live_trials
        self.searcher.live_trials = unfinished - self._untold
        self.searcher.num_unfinished_live_trials = len(self.searcher.live_trials)

    def _forget_unknown(self, known: Container[str]) -> None:
        """Delete what trials have left that Tune does not know of: others, of other settings, will have their names."""
        for trial_id, folder in trial_folders(Path(self._experiment.storage.storage_fs_path)).items():
            if trial_id not in known:
                shutil.rmtree(folder)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `SearchGenerator`; a trial that the searcher's record does not know is no news to it."""
        if trial_id not in self._untold:
            super().on_trial_result(trial_id, result)
