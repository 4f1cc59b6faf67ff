"""One run on Ray Train alone, without a population: start it, or go on where it was cut."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ray_advpose.cluster.group import GroupLayout, WorkerGroup
from ray_advpose.cluster.mailbox import Assignment, Report
from ray_advpose.cluster.run_card import RunCard
from ray_advpose.cluster.run_files import LOG, read_history
from ray_advpose.cluster.serving import TRAIN_ASSIGNMENT
from ray_advpose.cluster.signals import StopRequest, stop_on_signals
from ray_advpose.cluster.software import write_versions
from ray_advpose.cluster.storage import step_at
from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.setting_changes import SettingChange, config_in_epoch, joint_epoch_of

_MAX_FAILURES = 3
_CLOSE_TIMEOUT_S = 8.0
_NOBODY_AFTER_S = 20.0
"""How long workers that are to take a last checkpoint may be away; at a start or restart they come within seconds."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        history: Its epochs.
        cut_by: The signal that cut it, None if it is done.
        checkpoint: The last checkpoint that was waited for; None if no workers were there to take one.
    """

    history: list[EpochRecord]
    cut_by: signal.Signals | None
    checkpoint: str | None


def run_training(
    config: Config,
    card: RunCard,
    output: Path,
    checkpoint: str | None,
    allow_changes: Collection[str] = (),
    changes: Sequence[SettingChange] = (),
    writer: str | None = None,
) -> Outcome:
    """Train through all stages on a connected Ray; log lines appear on the terminal.

    Called in a process's main thread. Ctrl-C and SIGTERM end the run with a checkpoint, or
    without one if no workers come for a while.

    Args:
        config: The run's config.
        card: Where data and checkpoints are.
        output: The run's folder, reachable from every node.
        checkpoint: Place of the checkpoint to go on from; None starts anew.
        allow_changes: What may differ from the checkpoint.
        changes: Settings that change during stage 3.
        writer: By what name the place of the checkpoints is claimed, if other machines can write there.

    Raises:
        UserError: A worker found a mistake of the user's, such as a damaged shard, or another start of the run
            writes its checkpoints now.
        RuntimeError: Workers died again and again without reaching a checkpoint in between.
        KeyboardInterrupt: A second signal did not wait for the checkpoint.
    """
    write_versions(output)
    assignment = Assignment(
        trial_id=output.name,
        generation=0,
        config=config.model_dump(),
        data=card.data,
        output=str(output),
        checkpoint=checkpoint,
        checkpoints=card.checkpoints(output),
        # A change of settings goes on from the checkpoint of the epoch before.
        report_whole=bool(changes),
        allow_changes=tuple(allow_changes),
        writer=writer,
    )
    stretches = _Stretches(config, changes, ShardSet.open(card.data).count("train"))
    with _echoed(output / LOG), stop_on_signals() as stop:
        group = WorkerGroup(f"train-{uuid.uuid4().hex[:12]}", _layout(config, output), TRAIN_ASSIGNMENT)
        try:
            last = _serve_to_the_end(group, assignment, stretches, stop)
        finally:
            group.close(_CLOSE_TIMEOUT_S)
    if last is None:
        return Outcome(read_history(output), stop.signal, None)
    return Outcome(read_history(output), stop.signal if last.cut else None, last.checkpoint)


class _Stretches:
    """The stretches of a run with one config each."""

    def __init__(self, config: Config, changes: Sequence[SettingChange], train_images: int) -> None:
        if changes:
            config = config.replaced({"run.checkpoint_every_epochs": 1})
        self._config = config
        self._changes = changes
        self._schedule = make_schedule(config, train_images)

    def from_step(self, assignment: Assignment, step: int, checkpoint: str | None) -> Assignment:
        """Return the assignment that trains on from a step."""
        if not self._changes or step >= self._schedule.total_steps:
            return replace(assignment, checkpoint=checkpoint)
        config = config_in_epoch(self._config, self._changes, joint_epoch_of(self._schedule, step))
        return replace(assignment, config=config.model_dump(), checkpoint=checkpoint, any_member=True)

    def change_at(self, report: Report) -> bool:
        """Whether another stretch begins after a report."""
        done = report.metrics.get("joint_epochs")
        return not report.done and any(change.after_joint_epochs == done for change in self._changes)


class _NobodyThereError(Exception):
    """The run is to stop, and there are no workers."""


def _serve_to_the_end(
    group: WorkerGroup, assignment: Assignment, stretches: _Stretches, stop: StopRequest
) -> Report | None:
    """Return the last report; None if the run was to stop and there were no workers that could."""
    asked, there_at = False, 0.0

    def pass_on_a_stop() -> None:
        nonlocal asked, there_at
        if stop.signal is None:
            return
        if not asked:
            asked, there_at = True, time.monotonic()
            print(f"{stop.signal.name}: stopping after a checkpoint; once more stops at once", flush=True)
            group.ask_to_stop()
        elif group.is_at_work():
            there_at = time.monotonic()
        elif time.monotonic() - there_at > _NOBODY_AFTER_S:
            raise _NobodyThereError

    start = step_at(assignment.checkpoint) if assignment.checkpoint else 0
    group.assign(stretches.from_step(assignment, start, assignment.checkpoint))
    while True:
        try:
            report = group.next_report(pass_on_a_stop)
        except _NobodyThereError:
            return None
        if report.done or report.cut:
            group.dismiss()
            return report
        if stretches.change_at(report):
            group.dismiss()
            asked = False  # a wish to stop ends with the stretch it was for
            group.assign(stretches.from_step(assignment, int(report.metrics["step"]), report.checkpoint))
        else:
            group.go_on()


def _layout(config: Config, output: Path) -> GroupLayout:
    run = config.run
    return GroupLayout(
        storage_path=str(output / "train"),
        num_workers=run.num_workers if run.min_workers is None else (run.min_workers, run.num_workers),
        resources_per_worker={"CPU": run.cpus_per_worker}
        | ({"GPU": run.gpus_per_worker} if run.gpus_per_worker else {}),
        use_gpu=run.gpus_per_worker > 0,
        max_failures=_MAX_FAILURES,
    )


@contextmanager
def _echoed(log: Path) -> Iterator[None]:
    """Copy what is added to a file to standard output for the time being."""
    finished = threading.Event()
    start = log.stat().st_size if log.is_file() else 0

    def copy(position: int) -> int:
        if not log.is_file():
            return position
        with log.open(encoding="utf-8") as lines:
            lines.seek(position)
            print(lines.read(), end="", flush=True)
            return lines.tell()

    def follow() -> None:
        position = start
        while not finished.wait(0.5):
            position = copy(position)
        copy(position)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
