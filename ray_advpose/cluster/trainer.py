"""One run on Ray Train alone, without a population: start it, or go on where it was cut."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray_advpose.cluster.group import GroupLayout, WorkerGroup
from ray_advpose.cluster.mailbox import Assignment, Report
from ray_advpose.cluster.records import LOG, read_history
from ray_advpose.cluster.run_card import RunCard
from ray_advpose.cluster.runtime import write_versions
from ray_advpose.cluster.signals import StopRequest, stop_on_signals
from ray_advpose.cluster.worker import train_assignment
from ray_advpose.config import Config
from ray_advpose.training.state import EpochRecord

_MAX_FAILURES = 3
_CLOSE_TIMEOUT_S = 8.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        history: Its epochs.
        cut_by: The signal that cut it, None if it is done.
        checkpoint: The last checkpoint that was waited for.
    """

    history: list[EpochRecord]
    cut_by: signal.Signals | None
    checkpoint: str | None


def run_training(
    config: Config, card: RunCard, output: Path, checkpoint: str | None, allow_changes: Collection[str] = ()
) -> Outcome:
    """Train through all stages on a connected Ray; log lines appear on the terminal.

    Called in a process's main thread. Ctrl-C and SIGTERM end the run with a checkpoint.

    Args:
        config: The run's config.
        card: Where data and checkpoints are.
        output: The run's folder, reachable from every node.
        checkpoint: Place of the checkpoint to go on from; None starts anew.
        allow_changes: What may differ from the checkpoint.

    Raises:
        UserError: A worker found a mistake of the user's, such as a damaged shard.
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
        checkpoints=card.checkpoints,
        report_whole=False,
        allow_changes=tuple(allow_changes),
    )
    with _echoed(output / LOG), stop_on_signals() as stop:
        group = WorkerGroup(f"train-{uuid.uuid4().hex[:12]}", _layout(config, output), train_assignment)
        try:
            last = _serve_to_the_end(group, assignment, stop)
        finally:
            group.close(_CLOSE_TIMEOUT_S)
    return Outcome(read_history(output), stop.signal if last.cut else None, last.checkpoint)


def _serve_to_the_end(group: WorkerGroup, assignment: Assignment, stop: StopRequest) -> Report:
    asked = False

    def pass_on_a_stop() -> None:
        nonlocal asked
        if stop.signal is not None and not asked:
            asked = True
            print(f"{stop.signal.name}: stopping after a checkpoint; once more stops at once", flush=True)
            group.ask_to_stop()

    group.assign(assignment)
    while True:
        report = group.next_report(pass_on_a_stop)
        if report.done or report.cut:
            group.dismiss()
            return report
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
