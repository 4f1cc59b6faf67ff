"""Trials of real Tune searches on real Train worker groups that count instead of training."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from counting_trials import (
    TOTAL,
    Noter,
    Recorder,
    TrialKiller,
    held_groups,
    pointed_to,
    search,
    step_of,
    trainable,
    wait_for,
)
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.util.placement_group import placement_group

from ray_advpose.cluster.group import GroupLayout, WorkerGroup
from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.orphans import release_orphans
from ray_advpose.cluster.serving import Session

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("clean_cluster")]


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
