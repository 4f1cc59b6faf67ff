"""One line on the terminal for every report of every trial."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray import tune

from ray_advpose.cluster.records import clock

FINISHED, STOPPED, FAILED, CUT = "finished", "stopped early", "failed", "cut"


def read_endings(path: Path) -> dict[str, str]:
    """Return how each trial ended, by its name; trials that have not are not in it."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class SearchProgress(tune.Callback):
    """Prints what each trial reports, how the search stands and how long it may still take.

    It also writes down how each trial ended, which Tune's results do not tell.
    """

    def __init__(self, endings: Path, trials: int, slots: int, score_name: str) -> None:
        self._endings = endings
        self._trials = trials
        self._slots = slots
        self._score_name = score_name
        self._share_at_start: dict[str, float] = {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Start the clock; called at each start of the search, also when it goes on after a cut."""
        self._started = time.monotonic()
        self._share_at_start = {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Note how far trials are that an earlier start has trained."""
        for trial in trials:
            self._share_at_start.setdefault(trial.trial_id, _share(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print a report."""
        rewarded = [
            f"rewarded {arm} {100 * result[f'rewarded_{arm.lower()}']:.0f} %"
            for arm in ("ASR", "AHO")
            if f"rewarded_{arm.lower()}" in result
        ]
        others = ((other.last_result or {}).get("best_metric", float("-inf")) for other in trials)
        self._say(
            f"{trial.trial_id} {result['stage']} epoch {result['epoch']}",
            f"step {result['step']}/{result['total_steps']}",
            f"{result['images_per_s']:.0f} images/s",
            f"{self._score_name} {result['metric']:.1f}, best of all {max(result['best_metric'], *others):.1f}",
            *rewarded,
            f"at most {clock(self._remaining_s(trials))} left",
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has ended, and whether it was stopped early."""
        share = _share(trial)
        ended = sum(other.is_finished() or other is trial for other in trials)
        self._write_ending(trial, FINISHED if share >= 1 else STOPPED)
        self._say(
            f"{trial.trial_id} " + (FINISHED if share >= 1 else f"{STOPPED}, after {100 * share:.0f} % of its steps"),
            f"{ended}/{self._trials} trials ended",
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has failed."""
        self._write_ending(trial, FAILED)
        self._say(f"{trial.trial_id} {FAILED}: see {trial.error_file}")

    def _write_ending(self, trial: Any, ending: str) -> None:
        endings = read_endings(self._endings) | {trial.trial_id: ending}
        partial = self._endings.with_suffix(".partial")
        partial.write_text(json.dumps(endings, indent=1), encoding="utf-8")
        partial.replace(self._endings)

    def _remaining_s(self, trials: list[Any]) -> float:
        """Estimate the time left if no further trial is stopped early."""
        done = sum(_share(trial) - self._share_at_start.get(trial.trial_id, 0.0) for trial in trials)
        open_trials = [trial for trial in trials if not trial.is_finished()]
        left = sum(1 - _share(trial) for trial in open_trials) + self._trials - len(trials)
        # The last trials leave slots empty, so work is not simply divided by the slots.
        slots_busy = min(self._slots, len(open_trials) + self._trials - len(trials)) or 1
        elapsed = time.monotonic() - self._started
        return elapsed * left / done * self._slots / slots_busy if done > 0 else 0.0

    def _say(self, *parts: str) -> None:
        print(f"[{clock(time.monotonic() - self._started)}] " + " | ".join(parts), flush=True)


def _share(trial: Any) -> float:
    """Return how much of its steps a trial has trained, 0 to 1."""
    result = trial.last_result or {}
    return float(result.get("step", 0)) / float(result.get("total_steps", 1))
