"""Trials of real Tune searches on real Train worker groups that count instead of training."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
import ray.train.collective
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.util.placement_group import placement_group, placement_group_table

from ray_advpose.cluster.group import GroupLayout, WorkerGroup, release_orphans
from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.serving import Session
from ray_advpose.config import Config
from ray_advpose.search.trial import JointTrainingTrial, TrialConstants, trial_resources

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("clean_cluster")]

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


def test_four_trials_on_two_slots(tmp_path: Path) -> None:
    recorder = Recorder()
    scheduler = ASHAScheduler(time_attr="training_iteration", grace_period=2, max_t=TOTAL, reduction_factor=2)
    results = search(trainable(tmp_path, 2, "count"), tmp_path, [0.1, 0.2, 0.3, 0.4], recorder, scheduler)

    assert not results.errors
    ends = [result.metrics["step"] for result in results]
    assert (min(ends), max(ends)) == (2, TOTAL), "ASHA stopped none early"
    for result in results:
        assert result.metrics["alpha"] == pytest.approx(result.metrics["config"]["overrides"]["reward.alpha"])
        for checkpoint, metrics in result.best_checkpoints:
            assert pointed_to(checkpoint) == metrics["written"]
            assert step_of(pointed_to(checkpoint)) == metrics["step"] == metrics["training_iteration"]
    assert all(row["newest_written"] == row["step"] for row in recorder.rows), "workers ran ahead of the trial"

    workers = {row["worker"] for row in recorder.rows}
    served = [[row for row in recorder.rows if row["worker"] == worker] for worker in workers]
    assert len(served) == 2, "a trial was given new worker processes"
    handovers = [
        after["begun"] - before["arrived"]
        for rows in served
        for before, after in itertools.pairwise(rows)
        if before["trial_id"] != after["trial_id"]
    ]
    print("hand-over of a worker group:", [f"{seconds:.2f} s" for seconds in handovers])
    assert len(handovers) == 2
    assert max(handovers) < 3


@pytest.mark.slow
def test_two_workers_agree_and_recover_from_the_last_report(tmp_path: Path) -> None:
    recorder = Recorder()
    bound = trainable(tmp_path, 1, "count_and_die", num_workers=2)
    results = search(bound, tmp_path, [0.2], recorder, stop={"training_iteration": 5})

    assert not results.errors
    assert [(row["step"], row["start"]) for row in recorder.rows] == [(1, 0), (2, 0), (3, 0), (4, 3), (5, 3)]
    assert len({row["pid"] for row in recorder.rows}) == 1, "Tune had to restart the trial"
    assert len({row["worker"] for row in recorder.rows}) == 2
    recovery = recorder.rows[3]["arrived"] - recorder.rows[2]["arrived"]
    print(f"from the last report before a worker's death to the next: {recovery:.1f} s")
    output = Path(recorder.rows[0]["written"]).parent
    answers = [(output / f"answers-{rank}").read_text(encoding="utf-8").split("\n") for rank in (0, 1)]
    assert answers[0] == answers[1] == ["1 True", "2 True", "3 True", "4 True", "5 False", ""]


@pytest.mark.slow
def test_killed_trial_process_leaves_nothing_behind(tmp_path: Path) -> None:
    killer = TrialKiller()
    # Three of four CPUs: the restarted trial cannot begin before the killed one's are free.
    results = search(trainable(tmp_path, 1, "count", cpus=3), tmp_path, [0.2], killer)

    assert not results.errors
    assert killer.freed_after is not None
    print(f"resources of a killed trial free after {killer.freed_after:.1f} s")
    assert killer.freed_after < 10
    restarted = [row for row in killer.rows if row["arrived"] > killer.killed_at]
    assert restarted[0]["start"] in (1, 2), "the restarted trial did not go on from its last saved checkpoint"
    assert restarted[-1]["step"] == TOTAL


class Creator:
    def reserve(self, cpus: int) -> int:
        self.group = placement_group([{"CPU": cpus}])
        return os.getpid()


def test_orphaned_placement_groups_are_released() -> None:
    kept = placement_group([{"CPU": 1}])
    creators = [ray.remote(num_cpus=0)(Creator).remote() for _ in range(2)]
    # The second creator's group is still pending, as a killed start-up would leave it.
    processes = ray.get([creators[0].reserve.remote(1), creators[1].reserve.remote(100)])
    assert release_orphans() == []
    assert len(held_groups()) == 3
    for process in processes:
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: len(release_orphans() + list(held_groups())) == 1)
    assert held_groups() == {kept.id.hex()}
    ray.util.remove_placement_group(kept)


def hang(assignment: Assignment, session: Session) -> None:
    """Announce that the workers are there, then never come back."""
    Path(assignment.output).touch()
    time.sleep(600)


@pytest.mark.slow
def test_workers_that_do_not_leave_lose_their_resources(tmp_path: Path) -> None:
    layout = GroupLayout(str(tmp_path), 1, {"CPU": 1}, use_gpu=False, max_failures=0)
    group = WorkerGroup("hanging", layout, f"{__name__}:hang")
    started = tmp_path / "started"
    group.assign(Assignment("trial", 0, {}, "", str(started), None, ""))
    wait_for(started.exists)
    group.close(timeout_s=1)
    assert not held_groups()
    wait_for(group.failed)
    with pytest.raises(RuntimeError, match="has ended"):
        group.next_report()


def interrupted_search(address: str, folder: str) -> None:
    """The driver that `test_restored_search_goes_on` interrupts."""
    ray.init(address, log_to_driver=False)
    search(trainable(Path(folder), 1, "count"), Path(folder), [0.2, 0.3], Noter(Path(folder) / "noted.jsonl"))


@pytest.mark.slow
def test_restored_search_goes_on(tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    program = f"import test_trial_bridge as bridge; bridge.interrupted_search({address!r}, {str(tmp_path)!r})"
    # Tune itself takes the signal here and writes its state; what commands set, who take it themselves, would
    # leave that to chance.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNE_")}
    driver = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        wait_for(lambda: list(tmp_path.glob("trials/*/step_000000003/manifest.json")))
    finally:
        driver.send_signal(signal.SIGINT)
        driver.wait(timeout=60)

    results = tune.Tuner.restore(str(tmp_path / "search"), trainable(tmp_path, 1, "count")).fit()

    assert not results.errors
    assert [result.metrics["step"] for result in results] == [TOTAL, TOTAL]
    first, second = results
    known = [json.loads(line) for line in (tmp_path / "noted.jsonl").read_text().splitlines()]
    before = max(row["step"] for row in known if row["start"] == 0 and row["trial"] == first.metrics["trial_id"])
    print(f"interrupted after step {before}, went on from {first.metrics['start']}")
    # Of the last report Tune may not have had the checkpoint yet.
    assert before >= 3
    assert first.metrics["start"] in (before - 1, before)
    assert second.metrics["start"] == 0
