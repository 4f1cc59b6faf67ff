"""One line on the terminal for every report of every trial."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray import tune

from ray_advpose.report.clock import clock
from ray_advpose.search.lineage import Lineage

FINISHED, STOPPED, FAILED, CUT = "finished", "stopped early", "failed", "cut"


def read_endings(path: Path) -> dict[str, str]:
    """Return how each trial ended, by its name; trials that have not are not in it."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class SearchProgress(tune.Callback):
    """Prints what each trial reports, how the search stands and how long it may still take.

    It also writes down how each trial ended, which Tune's results do not tell.
    """

    def __init__(
        self, endings: Path, lineage: Path, trials: int, labels: list[str], slots: int, score_name: str
    ) -> None:
        """Take what there is to tell.

        Args:
            endings: The file in which endings are noted.
            lineage: The file that says which trials copied which.
            trials: How many there are.
            labels: What each trial is called in front of its name; may be empty.
            slots: Trials that run at a time.
            score_name: What the score is, e.g. ``PCK@0.2``.
        """
        self._endings = endings
        self._lineage = lineage
        self._trials = trials
        self._labels = labels
        self._slots = slots
        self._score_name = score_name
        self._shares: dict[str, float] = {}
        self._first_shares: dict[str, float] = {}
        self._lineage_bytes = 0
        self._told_barrier = 0

    def setup(self, *args: Any, **info: Any) -> None:
        """Start the clock; called at each start of the search, also when it goes on after a cut."""
        self._started = time.monotonic()
        self._first_report = self._started
        self._shares, self._first_shares = {}, {}
        self._told_barrier = Lineage(self._lineage).decided

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Print who has copied whom since the last look."""
        size = self._lineage.stat().st_size if self._lineage.is_file() else 0
        if size == self._lineage_bytes:
            return
        self._lineage_bytes = size
        lineage = Lineage(self._lineage)
        for exploit in lineage.exploits:
            if exploit.barrier > self._told_barrier:
                changes = ", ".join(
                    f"{name} {_short(before)} -> {_short(after)}" for name, (before, after) in exploit.changes.items()
                )
                self._say(
                    f"trial {exploit.trial} ({self._score_name} {exploit.score:.1f}) goes on as a copy of trial"
                    f" {exploit.donor} ({exploit.donor_score:.1f}) from step {exploit.step}",
                    changes,
                )
        self._told_barrier = lineage.decided

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print a report."""
        if not self._shares:
            self._first_report = time.monotonic()
        self._shares[trial.trial_id] = _share(result)
        self._first_shares.setdefault(trial.trial_id, _share(result))
        rewarded = [
            f"rewarded {arm} {100 * result[f'rewarded_{arm.lower()}']:.0f} %"
            for arm in ("ASR", "AHO")
            if f"rewarded_{arm.lower()}" in result
        ]
        others = ((other.last_result or {}).get("best_metric", float("-inf")) for other in trials)
        self._say(
            f"{self._name(trial)} {result['stage']} epoch {result['epoch']}",
            f"step {result['step']}/{result['total_steps']}",
            f"{result['images_per_s']:.0f} images/s",
            f"{self._score_name} {result['metric']:.1f}, best of all {max(result['best_metric'], *others):.1f}",
            *rewarded,
            self._time_left(trials),
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has ended, and whether it was stopped early."""
        share = _share(trial.last_result or {})
        ended = sum(other.is_finished() or other is trial for other in trials)
        self._write_ending(trial, FINISHED if share >= 1 else STOPPED)
        how = FINISHED if share >= 1 else f"{STOPPED}, after {100 * share:.0f} % of its steps"
        self._say(f"{self._name(trial)} {how}", f"{ended}/{self._trials} trials ended")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that a trial has failed."""
        self._write_ending(trial, FAILED)
        self._say(f"{self._name(trial)} {FAILED}: see {trial.error_file}")

    def _name(self, trial: Any) -> str:
        if not self._labels:
            return str(trial.trial_id)
        return f"{self._labels[int(trial.trial_id.rpartition('_')[2])]} ({trial.trial_id})"

    def _write_ending(self, trial: Any, ending: str) -> None:
        endings = read_endings(self._endings) | {trial.trial_id: ending}
        partial = self._endings.with_suffix(".partial")
        partial.write_text(json.dumps(endings, indent=1), encoding="utf-8")
        partial.replace(self._endings)

    def _time_left(self, trials: list[Any]) -> str:
        """Estimate the time left if no further trial is stopped early, from the work since the first report."""
        done = sum(self._shares.values()) - sum(self._first_shares.values())
        if done <= 0:
            return "time left not known yet"
        open_trials = [trial for trial in trials if not trial.is_finished()]
        left = sum(1 - self._shares.get(trial.trial_id, 0.0) for trial in open_trials) + self._trials - len(trials)
        # The last trials leave slots empty, so work is not simply divided by the slots.
        slots_busy = min(self._slots, len(open_trials) + self._trials - len(trials)) or 1
        elapsed = time.monotonic() - self._first_report
        return f"at most {clock(elapsed * left / done * self._slots / slots_busy)} left"

    def _say(self, *parts: str) -> None:
        print(f"[{clock(time.monotonic() - self._started)}] " + " | ".join(parts), flush=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _share(result: dict[str, Any]) -> float:
    """Return how much of its steps a trial has trained by its last report, 0 to 1."""
    return float(result.get("step", 0)) / float(result.get("total_steps", 1))
