"""One run on Ray Train alone, without a population: start it, or go on where it was cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from ray_advpose.cluster.mailbox import Assignment
from ray_advpose.cluster.records import LOG, read_history
from ray_advpose.cluster.runtime import write_versions
from ray_advpose.cluster.storage import checkpoint_at, checkpoint_steps
from ray_advpose.cluster.worker import CHECKPOINTS, train_assignment
from ray_advpose.config import Config
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import read_config
from ray_advpose.training.state import EpochRecord

_WORKER_FAILURES = 3
# How a run is spread over machines and what is kept of it does not change what is trained.
_MAY_DIFFER = {
    "run.num_workers",
    "run.torch_threads_per_worker",
    "run.cpus_per_worker",
    "run.cpus_per_data_task",
    "run.gpus_per_worker",
    "run.eval_batch_size",
    "run.checkpoint_every_epochs",
    "run.keep_last_checkpoints",
}


def run_training(config: Config, data: Path, output: Path) -> list[EpochRecord]:
    """Train through all stages on a connected Ray; log lines appear on the terminal.

    A folder with checkpoints of the same run is taken up at the last one.

    Args:
        config: The run's config.
        data: Prepared data.
        output: The run's folder, reachable from every node.

    Returns:
        All epochs of the run.

    Raises:
        UserError: A worker found a mistake of the user's, such as a damaged shard.
        TrainingFailedError: Workers died more often than is forgiven.
    """
    write_versions(output)
    run = config.run
    resources = {"CPU": run.cpus_per_worker} | ({"GPU": run.gpus_per_worker} if run.gpus_per_worker else {})
    trainer = TorchTrainer(
        _train_alone,
        train_loop_config={"config": config.model_dump(), "data": str(data), "output": str(output)},
        scaling_config=ScalingConfig(
            num_workers=run.num_workers, use_gpu=run.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(output),
            failure_config=FailureConfig(max_failures=_WORKER_FAILURES),
        ),
    )
    with _echoed(output / LOG):
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _users_mistake(error) or error from None
    return read_history(output)


def check_same_run(config: Config, output: Path) -> None:
    """Refuse to go on with another config than the run in the folder was started with.

    Raises:
        UserError: A field differs that decides what is trained; names it and both values.
    """
    latest = latest_checkpoint(output)
    if latest is None:
        return
    saved = read_config(latest).flat()
    for name, value in config.flat().items():
        if name not in _MAY_DIFFER and saved[name] != value:
            raise UserError(
                f"{output} holds a run with {name} = {saved[name]}, not {value}; name another --out for another run"
            )


def latest_checkpoint(output: Path) -> Path | None:
    """Return the last committed checkpoint of a run, None if there is none."""
    steps = checkpoint_steps(output / CHECKPOINTS)
    return checkpoint_at(output / CHECKPOINTS, steps[-1]) if steps else None


def _train_alone(loop_config: dict[str, Any]) -> None:
    output = loop_config["output"]
    latest = latest_checkpoint(Path(output))
    assignment = Assignment(
        trial_id=Path(output).name,
        generation=0,
        config=loop_config["config"],
        data=loop_config["data"],
        output=output,
        checkpoint=str(latest) if latest else None,
    )

    def report(metrics: dict[str, Any], checkpoint: str | None, done: bool) -> bool:
        # The checkpoint is on storage already; Ray Train would insist on a copy in a folder of its own.
        ray.train.report({**metrics, "checkpoint": checkpoint})
        return True

    train_assignment(assignment, report)


def _users_mistake(error: BaseException) -> UserError | None:
    """Return the user's mistake behind a failed run, if that is what it was."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, UserError):
                return cause
            cause = getattr(cause, "cause", None) or cause.__cause__
    return None


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
