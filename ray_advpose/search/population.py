"""A search from its first trial to its ranked table: start it, or take it up again."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ray import tune

from ray_advpose.cluster.group import GroupLayout
from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.records import read_history
from ray_advpose.cluster.worker import train_assignment
from ray_advpose.config import Config, config_from_dict
from ray_advpose.errors import UserError
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.lineage import LINEAGE
from ray_advpose.search.places import trial_folder
from ray_advpose.search.progress import CUT, FAILED, SearchProgress, read_endings
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources
from ray_advpose.search.tune_parts import make_scheduler, make_searcher, parameters
from ray_advpose.training.pose_stage import pose_stage_key

_SEARCH = "search.json"
_TUNE = "tune"
_ENDINGS = "endings.json"
# Tune's folder of a trial: its class, its name (the search's and perhaps its number), its place in the order, ...
_TRIAL_FOLDER = re.compile(r"JointTrainingTrial_([0-9a-f]+(?:_\d{5,})?)_(\d+)_")
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
        space: What is searched, and what becomes of trials while they train.
        trials: How many.
        overrides: One mapping of dotted fields to values a trial; empty if they are found on the way.
        labels: What each trial is called, where it is more than one draw among many; else empty.
    """

    base: dict[str, Any]
    data: str
    fingerprint: str
    score_name: str
    space: SearchSpace
    trials: int
    overrides: list[dict[str, Any]]
    labels: list[str] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """The base config."""
        return config_from_dict(self.base, _SEARCH)

    @property
    def every_joint_epochs(self) -> int:
        """Epochs of stage 3 between two moments at which trials may copy each other."""
        assert isinstance(self.space.scheduling, Exploiting)
        return self.space.scheduling.every_joint_epochs


_ADAPTER = TypeAdapter(Search)


def read_search(output: Path) -> Search:
    """Read what a search was started with; `UserError` if there is none in the folder."""
    path = output / _SEARCH
    try:
        return _ADAPTER.validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}, found {first['input']!r:.80}"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(f"{output} holds no search to resume: cannot read {path}: {reason}")


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
    if tune.Tuner.can_restore(str(output / _TUNE)):
        tuner = tune.Tuner.restore(
            str(output / _TUNE), trainable, resume_errored=True, param_space=parameters(search.overrides)
        )
    else:
        (output / _SEARCH).write_bytes(_ADAPTER.dump_json(search, indent=1))
        tuner = _tuner(search, trainable, output, layout)
    results = tuner.fit()
    endings = read_endings(output / _ENDINGS)
    # A restored search lists its trials in another order than it made them in; those never started have no folder.
    named = [(match, result) for result in results if (match := _TRIAL_FOLDER.search(Path(str(result.path)).name))]
    return [
        _outcome(match[1], result, endings, output) for match, result in sorted(named, key=lambda each: int(each[0][2]))
    ]


def _tuner(search: Search, trainable: Any, output: Path, layout: Layout) -> tune.Tuner:
    seed = search.config.run.seed
    return tune.Tuner(
        trainable,
        param_space=parameters(search.overrides),
        tune_config=tune.TuneConfig(
            metric="metric",
            mode="max",
            scheduler=make_scheduler(search.space, search.trials, search.config, Path(search.data), output),
            search_alg=make_searcher(search.space, seed, layout.slots),
            num_samples=1 if search.overrides else search.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=_TUNE,
            storage_path=str(output),
            failure_config=tune.FailureConfig(max_failures=_TRIAL_FAILURES),
            callbacks=[
                SearchProgress(
                    endings=output / _ENDINGS,
                    lineage=output / LINEAGE,
                    trials=search.trials,
                    labels=search.labels,
                    slots=layout.slots,
                    score_name=search.score_name,
                )
            ],
            verbose=0,
        ),
    )


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


def _outcome(trial_id: str, result: Any, endings: dict[str, str], output: Path) -> TrialOutcome:
    return TrialOutcome(
        trial_id=trial_id,
        ending=endings.get(trial_id, FAILED if result.error else CUT),
        overrides=result.config["overrides"],
        history=read_history(trial_folder(output, trial_id)),
    )
