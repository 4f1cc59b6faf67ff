"""How fast a config trains here, measured by training a little of each stage."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from ray_advpose.config import Config
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import occlusion_target, task_for
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.history import Validation
from ray_advpose.training.loop import train_epochs
from ray_advpose.training.schedule import Schedule, make_schedule
from ray_advpose.training.state import make_state

_EPOCHS = 1000


def calibrate(config: Config, shards: ShardSet, seconds: float) -> dict[str, float]:
    """Train for some seconds in each stage, from fresh weights, as one worker does.

    Steps are those of training; data is read and decoded between them, where training has it read
    ahead. What workers exchange is left out.

    Args:
        config: The run's config.
        shards: Prepared data.
        seconds: How long in each stage, after a first step that is not counted.

    Returns:
        Images of the global batch per second, by stage, with as many workers as the config has.
    """
    torch.set_num_threads(config.run.torch_threads_per_worker)
    device = torch.device("cuda" if torch.cuda.is_available() and config.run.gpus_per_worker else "cpu")
    # No stage ends before it has been timed.
    config = config.replaced({f"stages.{stage}_epochs": _EPOCHS for stage in ("pose", "pretrain", "joint")})
    task, schedule = task_for(config, shards), make_schedule(config, shards.count("train"))
    slots = np.arange(0, schedule.batch_size, config.run.num_workers)
    state = make_state(config, len(task.skeleton.joints), device)
    rates = {}
    for span in schedule.spans:
        state.step = span.first_step
        watch = _Watch(seconds)
        endless = _batches(shards, schedule, slots, span.first_step)
        for _ in train_epochs(
            state,
            task,
            schedule,
            endless,
            validate=lambda: Validation(0.0),
            cell_target=occlusion_target(shards, task),
            on_progress=lambda progress: None,
            go_on=watch.go_on,
        ):
            if not watch.go_on():
                break
        rates[span.stage.label] = watch.steps * schedule.batch_size / watch.elapsed_s
    return rates


class _Watch:
    """Counts steps from the second on, and says when it is time to leave."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: float | None = None
        self.steps = 0
        self.elapsed_s = 1e-9

    def go_on(self) -> bool:
        """Called after each step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
            return True
        self.steps += 1
        self.elapsed_s = now - self._begun
        return self.elapsed_s < self._seconds


def _batches(shards: ShardSet, schedule: Schedule, slots: np.ndarray, step: int) -> Iterator[CanvasBatch]:
    while step < schedule.total_steps:
        yield CanvasBatch.from_rows(step, read_steps(shards, schedule, range(step, step + 1), slots))
        step += 1
