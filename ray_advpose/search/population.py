"""A search from its first trial to its ranked table: start it, or take it up again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from ray_advpose.cluster.group import GroupLayout
from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.records import read_history
from ray_advpose.cluster.worker import train_assignment
from ray_advpose.config import Config, config_from_dict
from ray_advpose.errors import UserError
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.progress import CUT, FAILED, SearchProgress, read_endings
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources
from ray_advpose.training.pose_stage import pose_stage_key

_SEARCH = "search.json"
_TUNE = "tune"
_ENDINGS = "endings.json"
_TRIALS = "trials"
# Tune's folder of a trial: its class, its name (the search's and its own number), and what it tries.
_TRIAL_FOLDER = re.compile(r"_[0-9a-f]+_(\d{5,})")
# A trial whose workers died this often, beyond what its worker group takes, has something wrong with it.
_TRIAL_FAILURES = 2
_WORKER_FAILURES = 3


@dataclass(frozen=True)
class Search:
    """All that decides what a search does; stored with it, so that it can be taken up again.

    Attributes:
        base: The config that trials override, as ``model_dump()``.
        data: Absolute path of the prepared data.
        fingerprint: Of the data.
        score_name: What trials are ranked by, e.g. ``PCK@0.2``.
        overrides: One mapping of dotted fields to values a trial.
        grace_joint_epochs: Epochs of stage 3 that every trial gets before it can be stopped.
        reduction_factor: One in this many trials passes a rung.
        labels: What each trial is called, where it is more than one draw among many; else empty.
    """

    base: dict[str, Any]
    data: str
    fingerprint: str
    score_name: str
    overrides: list[dict[str, Any]]
    grace_joint_epochs: int
    reduction_factor: int
    labels: list[str] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """The base config."""
        return config_from_dict(self.base, _SEARCH)


def read_search(output: Path) -> Search:
    """Read what a search was started with; `UserError` if there is none in the folder."""
    path = output / _SEARCH
    try:
        return Search(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{output} holds no search to resume: cannot read {path}: {error}") from None


def has_search(output: Path) -> bool:
    """Whether a search was started in a folder."""
    return (output / _SEARCH).is_file()


def run_search(search: Search, output: Path, layout: Layout) -> list[TrialOutcome]:
    """Run all trials, going on from wherever an earlier start of the same search was cut.

    Args:
        search: What to do. If the folder holds a search already, the same as that.
        output: The search's folder, reachable from every node.
        layout: How many trials run at a time.

    Returns:
        How every trial that was started ended, in the order of their overrides.
    """
    output.mkdir(parents=True, exist_ok=True)
    trainable = _trainable(search, output, layout)
    space = {"overrides": tune.grid_search(search.overrides)}
    if tune.Tuner.can_restore(str(output / _TUNE)):
        tuner = tune.Tuner.restore(str(output / _TUNE), trainable, resume_errored=True, param_space=space)
    else:
        (output / _SEARCH).write_text(json.dumps(asdict(search), indent=1), encoding="utf-8")
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(metric="metric", mode="max", scheduler=_scheduler(search), reuse_actors=True),
            run_config=tune.RunConfig(
                name=_TUNE,
                storage_path=str(output),
                failure_config=tune.FailureConfig(max_failures=_TRIAL_FAILURES),
                callbacks=[
                    SearchProgress(output / _ENDINGS, search.overrides, search.labels, layout.slots, search.score_name)
                ],
                verbose=0,
            ),
        )
    results = tuner.fit()
    endings = read_endings(output / _ENDINGS)
    # A restored search lists its trials in another order than it made them in.
    outcomes = {
        number: _outcome(result, search.overrides[number], endings, output) for number, result in _numbered(results)
    }
    return [outcomes[number] for number in sorted(outcomes)]


def _numbered(results: Any) -> Iterator[tuple[int, Any]]:
    """Yield every result with its trial's place in the list of overrides; those never started have none yet."""
    for result in results:
        if match := _TRIAL_FOLDER.search(Path(str(result.path)).name):
            yield int(match[1]), result


def trial_folder(output: Path, trial_id: str) -> Path:
    """Return the folder of a trial's config, log, history, events and checkpoints."""
    return output / _TRIALS / trial_id


def _trainable(search: Search, output: Path, layout: Layout) -> Any:
    run = search.config.run
    resources = {"CPU": run.cpus_per_worker}
    if run.gpus_per_worker:
        resources["GPU"] = run.gpus_per_worker
    constants = TrialConstants(
        base=search.base,
        data=search.data,
        experiment=str(output),
        layout=GroupLayout(
            storage_path=str(output / "train"),
            num_workers=run.num_workers,
            resources_per_worker=resources,
            use_gpu=run.gpus_per_worker > 0,
            max_failures=_WORKER_FAILURES,
        ),
        train=train_assignment,
        shared_pose_stages=_shared_pose_stages(search),
    )
    return tune.with_resources(
        tune.with_parameters(JointTrainingTrial, constants=constants), trial_resources(layout.slots)
    )


def _shared_pose_stages(search: Search) -> frozenset[str]:
    """Return what more than one trial begins with; sharing the rest would fill the disk for nobody."""
    base = search.config
    keys = Counter(pose_stage_key(base.replaced(overrides, _SEARCH)) for overrides in search.overrides)
    return frozenset(key for key, trials in keys.items() if trials > 1)


def _scheduler(search: Search) -> ASHAScheduler:
    joint_epochs = search.config.stages.joint_epochs
    return ASHAScheduler(
        time_attr="joint_epochs",
        max_t=joint_epochs,
        grace_period=min(search.grace_joint_epochs, joint_epochs),
        reduction_factor=search.reduction_factor,
    )


def _outcome(result: Any, overrides: dict[str, Any], endings: dict[str, str], output: Path) -> TrialOutcome:
    trial_id = str((result.metrics or {}).get("trial_id", Path(result.path).name))
    return TrialOutcome(
        trial_id=trial_id,
        ending=endings.get(trial_id, FAILED if result.error else CUT),
        overrides=overrides,
        history=read_history(trial_folder(output, trial_id)),
    )
