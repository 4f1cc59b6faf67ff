"""Tells the terminal how a search stands: what trials report, who copies whom, how they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ray_advpose.cluster.run_files import LOG
from ray_advpose.report.clock import clock
from ray_advpose.report.live_view import TrialRow, View, last_progress
from ray_advpose.search.endings import ENDINGS, FAILED, FINISHED, STOPPED, read_endings, write_ending
from ray_advpose.search.lineage import LINEAGE, Lineage
from ray_advpose.search.places import trial_folder
from ray_advpose.search.stored import Search

_REDRAW_EVERY_S = 1.0


class SearchProgress(tune.Callback):
    """Shows what each trial reports, how the search stands and how long it may still take.

    It also writes down how each trial ended, which Tune's results do not tell.

    Args:
        search: What runs.
        output: Its folder.
        slots: Trials that run at a time.
        view: Where it is shown.
        trials: How many are to be trained.
        budget_left: Tells in words what is left of the budget, None without one.

    Attributes:
        endings: How each trial ended, by its name; those that failed and are tried again are not in it.
    """

    def __init__(
        self,
        search: Search,
        output: Path,
        slots: int,
        view: View,
        trials: int,
        budget_left: Callable[[], str | None],
    ) -> None:
        self._search = search
        self._output = output
        self._slots = slots
        self._view = view
        self._trials = trials
        self._budget_left = budget_left
        self._lineage_bytes = 0
        self._told_barrier = 0
        self._copies: dict[str, int] = {}
        self._shares: dict[str, float] = {}
        self.endings: dict[str, str] = {}
        self._gained = 0.0
        self._best = float("-inf")
        self._drawn_at = 0.0

    def setup(self, *args: Any, **info: Any) -> None:
        """Start the clock; called at each start of the search, also when it goes on after a cut."""
        self._started = time.monotonic()
        self._first_report: float | None = None
        lineage = Lineage(self._output / LINEAGE)
        self._told_barrier = lineage.decided
        for exploit in lineage.exploits:
            self._copies[f"{exploit.trial:05d}"] = exploit.generation
        self.endings = {trial: how for trial, how in read_endings(self._output / ENDINGS).items() if how != FAILED}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Redraw the table now and then."""
        if self._view.redraws and time.monotonic() - self._drawn_at > _REDRAW_EVERY_S:
            self._drawn_at = time.monotonic()
            rows = [self._row(trial) for trial in trials]
            self._view.show(rows, self._search.score_name, self._summary())

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tell who has copied whom since the last look."""
        path = self._output / LINEAGE
        size = path.stat().st_size if path.is_file() else 0
        if size == self._lineage_bytes:
            return
        self._lineage_bytes = size
        lineage = Lineage(path)
        for exploit in lineage.exploits:
            if exploit.barrier > self._told_barrier:
                self._copies[f"{exploit.trial:05d}"] = exploit.generation
                changes = ", ".join(
                    f"{name} {_short(before)} -> {_short(after)}" for name, (before, after) in exploit.changes.items()
                )
                self._say(
                    f"trial {exploit.trial} ({self._search.score_name} {exploit.score:.1f}) goes on as a copy of trial"
                    f" {exploit.donor} ({exploit.donor_score:.1f}) from step {exploit.step}",
                    changes,
                )
        self._told_barrier = lineage.decided

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell a report."""
        share = _share(result)
        if self._first_report is None:
            self._first_report = time.monotonic()
        elif trial.trial_id in self._shares:
            self._gained += share - self._shares[trial.trial_id]
        self._shares[trial.trial_id] = share
        self._best = max(self._best, result["best_metric"])
        rewarded = [
            f"rewarded {arm} {100 * result[f'rewarded_{arm.lower()}']:.0f} %"
            for arm in ("ASR", "AHO")
            if f"rewarded_{arm.lower()}" in result
        ]
        self._say(
            f"{self._name(trial)} {result['stage']} epoch {result['epoch']}",
            f"step {result['step']}/{result['total_steps']}",
            f"{result['images_per_s']:.0f} images/s",
            f"{self._search.score_name} {result['metric']:.1f}, best of all {self._best:.1f}",
            *rewarded,
            self._time_left(),
            *self._budget(),
            lasting=False,
        )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell that a trial has ended, and whether it was stopped early."""
        share = _share(trial.last_result or {})
        how = FINISHED if share >= 1 else STOPPED
        self._end(trial, how)
        told = how if share >= 1 else f"{how}, after {100 * share:.0f} % of its steps"
        self._say(f"{self._name(trial)} {told}", f"{len(self.endings)}/{self._trials} trials ended")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell that a trial has failed."""
        self._end(trial, FAILED)
        self._say(f"{self._name(trial)} {FAILED}: see {trial.error_file}")

    def _end(self, trial: Trial, how: str) -> None:
        self.endings[trial.trial_id] = how
        write_ending(self._output / ENDINGS, trial.trial_id, how)

    def _name(self, trial: Trial) -> str:
        if not self._search.labels:
            return str(trial.trial_id)
        return f"{self._search.labels[int(_number(trial))]} ({trial.trial_id})"

    def _time_left(self) -> str:
        """Estimate the time left if no further trial is stopped early, from the work since the first report."""
        if self._gained <= 0 or self._first_report is None:
            return "time left not known yet"
        trials_left = self._trials - len(self.endings)
        begun = sum(share for trial, share in self._shares.items() if trial not in self.endings)
        # The last trials leave slots empty, so work is not simply divided by the slots.
        slots_busy = min(self._slots, trials_left) or 1
        elapsed = time.monotonic() - self._first_report
        left_s = elapsed * (trials_left - begun) / self._gained * self._slots / slots_busy
        return f"at most {clock(left_s)} left"

    def _budget(self) -> Sequence[str]:
        left = self._budget_left()
        return [left] if left else []

    def _summary(self) -> str:
        copies = sum(self._copies.values())
        parts = [
            f"{clock(time.monotonic() - self._started)} since the start",
            f"{len(self.endings)}/{self._trials} trials ended",
            *([f"{copies} {'copy' if copies == 1 else 'copies'}"] if copies else []),
            self._time_left(),
            *self._budget(),
        ]
        return " | ".join(parts)

    def _row(self, trial: Trial) -> TrialRow:
        result = trial.last_result or {}
        runs = trial.status == Trial.RUNNING
        told = last_progress(trial_folder(self._output, trial.trial_id) / LOG) if runs else None
        rate = f"{result['images_per_s']:.0f}" if "images_per_s" in result else ""
        step = f"{result['step']}/{result['total_steps']}" if "step" in result else ""
        waits = "starts" if runs else "waits"
        return TrialRow(
            name=self._name(trial),
            state=self.endings.get(trial.trial_id)
            or (f"{result['stage']} {result['epoch']}" if "stage" in result else waits),
            step=told[0] if told else step,
            images_per_s=told[1] if told else rate,
            score=f"{result['metric']:.1f}" if "metric" in result else "",
            best=f"{result['best_metric']:.1f}" if "best_metric" in result else "",
            copied=self._copies.get(_number(trial), 0),
            runs=runs,
        )

    def _say(self, *parts: str, lasting: bool = True) -> None:
        self._view.say(f"[{clock(time.monotonic() - self._started)}] " + " | ".join(parts), lasting)


def _number(trial: Trial) -> str:
    return str(trial.trial_id).rpartition("_")[2]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _share(result: dict[str, Any]) -> float:
    """Return how much of its steps a trial has trained by its last report, 0 to 1."""
    return float(result.get("step", 0)) / float(result.get("total_steps", 1))
