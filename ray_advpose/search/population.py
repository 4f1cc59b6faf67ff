"""A search from its first trial to its ranked table: start it, or take it up again."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from ray import tune

from ray_advpose.cluster.group import GroupLayout
from ray_advpose.cluster.layout import Layout
from ray_advpose.cluster.run_files import read_history
from ray_advpose.cluster.serving import TRAIN_ASSIGNMENT
from ray_advpose.report.ranking import TrialOutcome
from ray_advpose.search.lineage import LINEAGE
from ray_advpose.search.places import trial_folder
from ray_advpose.search.progress import CUT, FAILED, SearchProgress, read_endings
from ray_advpose.search.stored import Search, write_search
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources
from ray_advpose.search.tune_parts import make_scheduler, make_searcher, parameters
from ray_advpose.training.pose_stage import pose_stage_key

_TUNE = "tune"
_ENDINGS = "endings.json"
# Tune's folder of a trial: its class, its name (the search's and perhaps its number), its place in the order, ...
_TRIAL_FOLDER = re.compile(r"JointTrainingTrial_([0-9a-f]+(?:_\d{5,})?)_(\d+)_")
# A trial whose workers died this often, beyond what its worker group takes, has something wrong with it.
_TRIAL_FAILURES = 2
_WORKER_FAILURES = 3


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
        write_search(search, output)
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


def _outcome(trial_id: str, result: Any, endings: dict[str, str], output: Path) -> TrialOutcome:
    return TrialOutcome(
        trial_id=trial_id,
        ending=endings.get(trial_id, FAILED if result.error else CUT),
        overrides=result.config["overrides"],
        history=read_history(trial_folder(output, trial_id)),
    )
