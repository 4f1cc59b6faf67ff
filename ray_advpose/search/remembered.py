"""A Tune scheduler whose decisions outlive the process that made them.

Tune does not store what a scheduler knows. This one writes down every result it is told and what was
decided on it. A restored search tells a fresh scheduler the same results in the same order, which
puts it where the former one was, and answers a result that comes a second time as it was answered
the first time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

DECISIONS = "decisions.jsonl"
_RESULT, _COMPLETE = "result", "complete"


class RememberedScheduler(TrialScheduler):
    """Passes everything on to a scheduler of Tune's that decides by time and score alone.

    Args:
        inner: The scheduler, fresh.
        path: Where decisions are written; read when the search goes on.
        time_attr: The result's entry that the scheduler takes for time.
    """

    def __init__(self, inner: TrialScheduler, path: Path, time_attr: str) -> None:
        super().__init__()
        self._inner = inner
        self._path = path
        self._time_attr = time_attr
        self._trials: dict[str, Trial] = {}
        self._answers: dict[tuple[str, float], str] = {}
        self._completed: set[str] = set()
        self._caught_up = False

    @property
    def metric(self) -> Any:
        """What trials are compared by."""
        return self._inner.metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """See `TrialScheduler`."""
        return bool(self._inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """See `TrialScheduler`; a trial whose process died is added again and is still the same."""
        if trial.trial_id not in self._trials:
            self._inner.on_trial_add(tune_controller, trial)
        self._trials[trial.trial_id] = trial

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """See `TrialScheduler`."""
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """See `TrialScheduler`."""
        self._catch_up(tune_controller)
        moment = (trial.trial_id, result[self._time_attr])
        if moment not in self._answers:
            answer = str(self._inner.on_trial_result(tune_controller, trial, result))
            self._answers[moment] = answer
            self._write(_RESULT, trial, result, answer)
        return self._answers[moment]

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """See `TrialScheduler`."""
        self._catch_up(tune_controller)
        if trial.trial_id in self._completed:
            return
        if self._time_attr in result:
            self._write(_COMPLETE, trial, result, "")
        self._complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """See `TrialScheduler`."""
        if trial.trial_id not in self._completed:
            self._completed.add(trial.trial_id)
            self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """See `TrialScheduler`."""
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """See `TrialScheduler`."""
        return str(self._inner.debug_string())

    def _catch_up(self, tune_controller: Any) -> None:
        """Tell the scheduler what a former one was told, once all trials there were are known again."""
        if self._caught_up:
            return
        self._caught_up = True
        content = self._path.read_bytes() if self._path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            event = json.loads(line)
            trial = self._trials.get(event["trial"])
            # Tune has forgotten the newest trials when it was killed; it makes them again, and they report again.
            if trial is None:
                continue
            result = {self._time_attr: event["time"], self.metric: event["score"]}
            if event["event"] == _RESULT:
                self._inner.on_trial_result(tune_controller, trial, result)
                self._answers[event["trial"], event["time"]] = event["answer"]
            else:
                self._complete(tune_controller, trial, result)

    def _complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._completed.add(trial.trial_id)
        self._inner.on_trial_complete(tune_controller, trial, result)

    def _write(self, event: str, trial: Trial, result: dict[str, Any], answer: str) -> None:
        line = {
            "event": event,
            "trial": trial.trial_id,
            "time": result[self._time_attr],
            "score": result.get(self.metric),
            "answer": answer,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
