"""A run on sixty drawn people, with what its steps and the loop are called with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import nn

from ray_advpose.config import Config
from ray_advpose.data.probe_images import read_probe_images
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import occlusion_target, task_for
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.history import EpochRecord, Probe, Validation
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.loop import train_epochs
from ray_advpose.training.pose_step import Task
from ray_advpose.training.probe import measure_probe
from ray_advpose.training.schedule import Schedule, make_schedule
from ray_advpose.training.state import TrainState, make_state

EPOCHS = 6  # of the tiny config: two of each stage


@dataclass(frozen=True)
class TinyRun:
    config: Config
    shards: ShardSet
    task: Task
    schedule: Schedule
    state: TrainState

    def batches(self, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[CanvasBatch]:
        slots = np.arange(rank, self.schedule.batch_size, workers)
        for step in range(start, self.schedule.total_steps):
            yield CanvasBatch.from_rows(step, read_steps(self.shards, self.schedule, range(step, step + 1), slots))

    def batch(self, step: int = 0, rank: int = 0, workers: int = 1) -> CanvasBatch:
        return next(self.batches(step, rank, workers))

    def joint_step(self) -> JointStep:
        return JointStep(self.task, self.state.pose_net, self.state.asr_net, self.state.aho_net)

    def epochs(
        self, batches: Iterator[CanvasBatch] | None = None, validate=None, go_on=lambda: True
    ) -> Iterator[EpochRecord]:
        scored = ScoredSplit(self.shards, "val", self.task)
        return train_epochs(
            self.state,
            self.task,
            self.schedule,
            self.batches(self.state.step) if batches is None else batches,
            validate or (lambda: Validation.of(scored.predict(self.state.pose_net).score())),
            occlusion_target(self.shards, self.task),
            on_progress=lambda progress: None,
            go_on=go_on,
            probe=self.probe,
        )

    def probe(self) -> Probe | None:
        images = read_probe_images(self.shards, self.config.run.probe_images)
        if images is None:
            return None
        return measure_probe(self.task, images, self.state.pose_net, self.state.asr_net, self.state.aho_net)


def make_run(config: Config, shards: ShardSet, **overrides: object) -> TinyRun:
    """Overrides name fields with a double underscore: ``reward__alpha=1.0``."""
    config = config.replaced({name.replace("__", "."): value for name, value in overrides.items()})
    task = task_for(config, shards)
    state = make_state(config, len(task.skeleton.joints), torch.device("cpu"))
    return TinyRun(config, shards, task, make_schedule(config, shards.count("train")), state)


def shake(net: nn.Module, seed: int = 0) -> None:
    """Move every weight: the heads of an augmentation net start at zero and would let no gradient through."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng)


def fingerprint(state: TrainState) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Every number a run leaves behind, but for times."""
    tensors = {
        f"{name}.{key}": value for name, net in state.networks.items() for key, value in net.state_dict().items()
    }
    tensors |= {f"sweep of {sample}": target for sample, target in state.sweep_targets.items()}
    for name, optimizer in state.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    records = [asdict(replace(record, seconds=0.0, waiting_share=0.0)) for record in state.history]
    return tensors, records


def assert_equal(first: TrainState, second: TrainState) -> None:
    (tensors, records), (other_tensors, other_records) = fingerprint(first), fingerprint(second)
    assert records == other_records
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name


def train_to(run: TinyRun, step: int, rank: int = 0, workers: int = 1) -> None:
    """Train until ``step`` steps are done, within an epoch or at its end."""
    for record in run.epochs(run.batches(0, rank, workers), go_on=lambda: run.state.step < step):
        if record.step >= step:
            break


def finish(run: TinyRun, epochs: int = EPOCHS) -> None:
    for _, _ in zip(range(epochs), run.epochs(), strict=False):
        pass
