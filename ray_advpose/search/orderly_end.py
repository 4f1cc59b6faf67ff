"""Ends a search before its trials have: each takes a checkpoint first, so that nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ray_advpose.cluster.signals import StopRequest
from ray_advpose.search.budget import Meter
from ray_advpose.search.stop_board import StopBoard

# A checkpoint needs a step to end, and perhaps a validation; who has not answered by then is left where it was last.
# Below what the heads of launch/cluster leave a job that is stopped, 300 s, so that the end is told and copied.
_PATIENCE_S = 200.0
# Looking through all trials takes longer the more there are.
_LOOK_EVERY_S = 0.3
_HURRY = "Ctrl-C or SIGTERM ends at once"


class OrderlyEnd(tune.Callback):
    """Ends Tune's loop at a signal or when the budget is used up, once every trial stands still.

    Args:
        board: Through which trials are asked and answer.
        stop: Whether a signal has asked for an end.
        meter: Told how many trials run.
        waits: Whether a trial that Tune calls running stands at a barrier, where its checkpoint is whole.
        say: Tells the user.

    Attributes:
        reason: Why the search was ended, in words; None if it was not.
    """

    def __init__(
        self,
        board: StopBoard,
        stop: StopRequest,
        meter: Meter,
        waits: Callable[[Trial], bool],
        say: Callable[[str], None],
    ) -> None:
        self._board = board
        self._stop = stop
        self._meter = meter
        self._waits = waits
        self._say = say
        self._asked_at = self._looked_at = 0.0
        self._over = False
        self.reason: str | None = None

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Count the time; ask for the end when it is due, and end when all have answered."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        self._meter.count(len(running))
        if self.reason is None:
            self.reason = self._stop.signal.name if self._stop.signal is not None else self._meter.exceeded()
            if self.reason is None:
                return
            self._stop.ending = True
            self._board.ask()
            self._asked_at = time.monotonic()
            self._say(f"{self.reason}: every running trial takes a checkpoint; {_HURRY}")
        self._over = self._over or self._all_stand_still(running)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """End Tune's loop."""
        if self._over:
            # Tune stores its state then, and asks for no more results: what a trial that was cut in an epoch
            # returns is none.
            os.kill(os.getpid(), signal.SIGUSR1)
            self._board.end()

    def _all_stand_still(self, running: Sequence[Trial]) -> bool:
        late = time.monotonic() - self._asked_at > _PATIENCE_S
        return late or all(self._board.answered(trial.trial_id) or self._waits(trial) for trial in running)
