"""A search from its first trial to its ranked table: start it, or take it up again."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from rich.console import Console

from ray_advpose.cluster.group import GroupLayout
from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.run_files import read_history
from ray_advpose.cluster.serving import TRAIN_ASSIGNMENT
from ray_advpose.cluster.signals import StopRequest
from ray_advpose.report.live_view import view_for
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.budget import Meter
from ray_advpose.search.endings import CUT, FAILED
from ray_advpose.search.exploiting_scheduler import ExploitingScheduler
from ray_advpose.search.orderly_end import OrderlyEnd
from ray_advpose.search.places import trial_folder
from ray_advpose.search.progress import SearchProgress
from ray_advpose.search.stop_board import StopBoard
from ray_advpose.search.stored import Search, write_search
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources
from ray_advpose.search.tune_parts import make_scheduler, make_searcher
from ray_advpose.training.pose_stage import pose_stage_key

_TUNE = "tune"
# A trial whose workers died this often, beyond what its worker group takes, has something wrong with it.
_TRIAL_FAILURES = 2
_WORKER_FAILURES = 3


@dataclass(frozen=True)
class Limits:
    """What ends a search although trials are left.

    Attributes:
        stop: A signal.
        meter: Time and cost.
        max_trials: How many are started at most; None for no bound.
    """

    stop: StopRequest
    meter: Meter
    max_trials: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a search ended.

    Attributes:
        outcomes: How every trial that was started did, in the order of their settings.
        reason: What ended it before its trials had, in words; None if nothing did.
        by: The signal that did, if it was one.
    """

    outcomes: list[TrialOutcome]
    reason: str | None = None
    by: signal.Signals | None = None


def run_search(search: Search, output: Path, layout: Layout, limits: Limits) -> Ended:
    """Run all trials, going on from wherever an earlier start of the same search was cut.

    Args:
        search: What to do. If the folder holds a search already, the same as that, or more of it.
        output: The search's folder, reachable from every node.
        layout: How many trials run at a time.
        limits: What ends it before its trials have.
    """
    write_search(search, output)
    experiment = tune.Experiment(
        _TUNE,
        _trainable(search, output, layout),
        config={},
        num_samples=search.trials,
        storage_path=str(output),
        max_failures=_TRIAL_FAILURES,
    )
    scheduler = make_scheduler(search.space, search.trials, search.config, search.data, output)
    with closing(view_for(Console())) as view:
        goes_on = _goes_on(output)
        board = StopBoard(output)
        board.clear()
        end = OrderlyEnd(board, limits.stop, limits.meter, _waits(scheduler), view.say)
        trials = search.trials if limits.max_trials is None else min(search.trials, limits.max_trials)
        progress = SearchProgress(search, output, layout.slots, view, trials, limits.meter.left)
        analysis = tune.run(
            experiment,
            metric="metric",
            mode="max",
            scheduler=scheduler,
            search_alg=make_searcher(search, experiment, layout.slots, limits.max_trials, goes_on is not None),
            resume_config=goes_on,
            reuse_actors=True,
            raise_on_failed_trial=False,
            callbacks=[progress, end],
            verbose=0,
        )
    limits.meter.write()
    endings = progress.endings
    in_order = sorted(analysis.trials, key=lambda trial: int(trial.experiment_tag.partition("_")[0]))
    # Those that never started have nothing to show.
    started = [each for each in in_order if each.trial_id in endings or trial_folder(output, each.trial_id).is_dir()]
    outcomes = [_outcome(trial, endings, output) for trial in started]
    reason = end.reason
    if reason is None and limits.max_trials is not None and limits.max_trials < search.trials:
        reason = f"--max-trials {limits.max_trials} is reached"
    return Ended(outcomes, reason, limits.stop.signal)


def _waits(scheduler: TrialScheduler) -> Callable[[Trial], bool]:
    """Return what tells whether a trial that Tune calls running stands at a barrier."""
    return scheduler.waits if isinstance(scheduler, ExploitingScheduler) else lambda trial: False


def _goes_on(output: Path) -> tune.ResumeConfig | None:
    if not any((output / _TUNE).glob("experiment_state-*.json")):
        return None
    resume = tune.ResumeConfig.ResumeType.RESUME
    return tune.ResumeConfig(unfinished=resume, errored=resume)


def _trainable(search: Search, output: Path, layout: Layout) -> Any:
    run = search.config.run
    resources = {"CPU": run.cpus_per_worker}
    if run.gpus_per_worker:
        resources["GPU"] = run.gpus_per_worker
    constants = TrialConstants(
        base=search.base,
        data=search.data,
        fingerprint=search.fingerprint,
        train_images=search.train_images,
        allow_changes=tuple(search.allowed),
        experiment=str(output),
        layout=GroupLayout(
            storage_path=str(output / "train"),
            num_workers=run.num_workers,
            resources_per_worker=resources,
            use_gpu=run.gpus_per_worker > 0,
            max_failures=_WORKER_FAILURES,
        ),
        train=TRAIN_ASSIGNMENT,
        shared_pose_stages=_shared_pose_stages(search),
    )
    return tune.with_resources(
        tune.with_parameters(JointTrainingTrial, constants=constants), trial_resources(layout.slots)
    )


def _shared_pose_stages(search: Search) -> frozenset[str]:
    """Return what more than one trial begins with; sharing the rest would fill the disk for nobody."""
    base = search.config
    keys = Counter(pose_stage_key(base.replaced(overrides, "trial")) for overrides in search.overrides)
    return frozenset(key for key, trials in keys.items() if trials > 1)


def _outcome(trial: Trial, endings: Mapping[str, str], output: Path) -> TrialOutcome:
    return TrialOutcome(
        trial_id=trial.trial_id,
        ending=endings.get(trial.trial_id, FAILED if trial.status == Trial.ERROR else CUT),
        overrides=trial.config["overrides"],
        history=read_history(trial_folder(output, trial.trial_id)),
    )
