"""Trials of real Tune searches whose workers count instead of training, and what watches them."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.util.placement_group import placement_group_table

from ray_advpose.cluster.group import GroupLayout
from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.serving import Session
from ray_advpose.config import Config
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources

TOTAL = 6


def count(assignment: Assignment, session: Session, die_at: int | None = None) -> None:
    """Count to `TOTAL`, write a checkpoint and report at each step; rank 1 dies once at ``die_at``."""
    rank = ray.train.get_context().get_world_rank()
    output = Path(assignment.output)
    output.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    start = step_of(assignment.checkpoint) if assignment.checkpoint else 0
    for step in range(start + 1, TOTAL + 1):
        time.sleep(0.1)
        checkpoint = output / f"step_{step:09d}"
        if rank == 0:
            checkpoint.mkdir(exist_ok=True)
            (checkpoint / "manifest.json").write_text(json.dumps({"step": step}), encoding="utf-8")
        if step == die_at and not (output / "died").exists():
            ray.train.collective.barrier()
            if rank == 1:
                (output / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        metrics = {
            "step": step,
            "start": start,
            "begun": begun,
            "generation": assignment.generation,
            "loss": assignment.config["reward"]["alpha"] / step,
            "alpha": assignment.config["reward"]["alpha"],
            "worker": os.getpid(),
            "written": str(checkpoint),
        }
        go_on = session.report(metrics, str(checkpoint), step == TOTAL)
        with (output / f"answers-{rank}").open("a", encoding="utf-8") as log:
            log.write(f"{step} {go_on}\n")
        if not go_on:
            return


count_and_die = functools.partial(count, die_at=4)


def step_of(checkpoint: str) -> int:
    return int(json.loads(Path(checkpoint, "manifest.json").read_text(encoding="utf-8"))["step"])


class Recorder(tune.Callback):
    """Keeps every result with its time of arrival, and what the workers had written by then."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        # Tune gives the trial its answer only after this has returned.
        newest = max(step_of(str(path)) for path in Path(result["written"]).parent.glob("step_*"))
        self.rows.append({**result, "arrived": time.time(), "newest_written": newest})


class Noter(tune.Callback):
    """Notes every result in a file, which outlives the driver."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps({"trial": trial.trial_id, "step": result["step"], "start": result["start"]}) + "\n")


class TrialKiller(Recorder):
    """Kills the trial's process at its second result and watches what becomes of its workers."""

    killed_at, freed_after = None, None

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        super().on_trial_result(iteration, trials, trial, result, **info)
        if result["step"] == 2 and self.killed_at is None:
            self.before = held_groups()
            os.kill(result["pid"], signal.SIGKILL)
            self.killed_at = time.time()

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        if self.killed_at is not None and self.freed_after is None and not self.before & held_groups():
            self.freed_after = time.time() - self.killed_at


def held_groups() -> set[str]:
    return {name for name, entry in placement_group_table().items() if entry["state"] != "REMOVED"}


def wait_for(condition: Callable[[], Any], timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def trainable(folder: Path, slots: int, train: str, num_workers: int = 1, cpus: float = 1) -> Any:
    constants = TrialConstants(
        base=Config().model_dump(),
        data=str(folder),
        fingerprint="any",
        train_images=120,
        experiment=str(folder),
        layout=GroupLayout(str(folder / "groups"), num_workers, {"CPU": cpus}, use_gpu=False, max_failures=2),
        train=f"{__name__}:{train}",
    )
    bound = tune.with_parameters(JointTrainingTrial, constants=constants)
    return tune.with_resources(bound, trial_resources(slots))


def search(
    bound: Any,
    folder: Path,
    alphas: list[float],
    callback: tune.Callback,
    scheduler: TrialScheduler | None = None,
    stop: dict[str, int] | None = None,
) -> tune.ResultGrid:
    return tune.Tuner(
        bound,
        param_space={"overrides": {"reward.alpha": tune.grid_search(alphas)}},
        tune_config=tune.TuneConfig(metric="loss", mode="min", scheduler=scheduler, reuse_actors=True),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(folder),
            verbose=0,
            callbacks=[callback],
            stop=stop,
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    ).fit()


def pointed_to(checkpoint: tune.Checkpoint) -> str:
    return str(json.loads(Path(checkpoint.path, "pointer.json").read_text(encoding="utf-8"))["checkpoint"])
