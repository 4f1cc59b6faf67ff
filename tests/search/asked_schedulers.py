"""Stand-ins for what Tune's schedulers look at, so that they can be asked without Tune."""

from __future__ import annotations


class Trial:
    """As much of a trial as these schedulers look at."""

    status = "RUNNING"

    def __init__(self, trial_id):
        self.trial_id = trial_id


class Controller:
    """As much of Tune as these schedulers ask."""

    def get_live_trials(self):
        return []
