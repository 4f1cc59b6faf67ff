"""One line on the terminal for every report of every trial."""

from __future__ import annotations

import time
from typing import Any

from ray import tune

from ray_advpose.cluster.records import clock


class SearchProgress(tune.Callback):
    """Prints what each trial reports, how the search stands and how long it may still take."""

    def __init__(self, trials: int, slots: int, score_name: str) -> None:
        self._trials = trials
        self._slots = slots
        self._score_name = score_name
        self._started = time.monotonic()
        self._done_share: dict[str, float] = {}
        self._ended: set[str] = set()
        self._best = (float("-inf"), "")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print a report."""
        name = trial.trial_id
        self._done_share[name] = result["step"] / result["total_steps"]
        self._best = max(self._best, (result["metric"], name))
        shares = [
            f"rewarded {arm} {100 * result[f'rewarded_{arm.lower()}']:.0f} %"
            for arm in ("ASR", "AHO")
            if f"rewarded_{arm.lower()}" in result
        ]
        self._say(
            f"{name} {result['stage']} epoch {result['epoch']} | step {result['step']}/{result['total_steps']}"
            f" | {result['images_per_s']:.0f} images/s | {self._score_name} {result['metric']:.1f}",
            *shares,
            f"best {self._best[0]:.1f} ({self._best[1]})",
            f"at most {clock(self._remaining_s())} left",
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has ended, and whether it was stopped early."""
        share = self._done_share.get(trial.trial_id, 0.0)
        self._ended.add(trial.trial_id)
        ending = "finished" if share >= 1 else f"stopped early at {100 * share:.0f} % of its steps"
        self._say(f"{trial.trial_id} {ending}", f"{len(self._ended)}/{self._trials} trials ended")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has failed."""
        self._ended.add(trial.trial_id)
        self._say(f"{trial.trial_id} failed: see {trial.error_file}")

    def _remaining_s(self) -> float:
        """Estimate the time left if no further trial is stopped early."""
        elapsed = time.monotonic() - self._started
        work = sum(self._done_share.values())
        left = sum(1 - share for name, share in self._done_share.items() if name not in self._ended)
        left += self._trials - len(self._done_share)
        running = max(1, min(self._slots, self._trials - len(self._ended)))
        return elapsed * left / work * min(self._slots, len(self._done_share)) / running if work else 0.0

    def _say(self, *parts: str) -> None:
        print(f"[{clock(time.monotonic() - self._started)}] " + " | ".join(parts), flush=True)
