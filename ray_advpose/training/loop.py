"""The one training loop, for all stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.history import EpochRecord, Probe, Validation
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pose_step import PoseStep, StepStatistics, Task
from ray_advpose.training.pretrain_step import PretrainStep
from ray_advpose.training.schedule import Position, Schedule, Stage
from ray_advpose.training.state import TrainState, learning_rates
from ray_advpose.training.statistics import RunningEpoch
from ray_advpose.training.stepper import make_stepper

PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True)
class Progress:
    """A look at a running epoch.

    Attributes:
        stage: Name of the stage.
        epoch: Epoch within the stage, from 1.
        epochs: Epochs of the stage.
        step: Global steps done.
        total_steps: Global steps of the run.
        images_left: Global images from here to the end of the run.
        images_per_s: Global images a second in this epoch so far, waiting included.
        means: Mean statistics of the epoch so far, on this worker.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    total_steps: int
    images_left: int
    images_per_s: float
    means: dict[str, float]


def train_epochs(
    state: TrainState,
    task: Task,
    schedule: Schedule,
    batches: Iterable[CanvasBatch],
    validate: Callable[[], Validation],
    cell_target: Tensor,
    on_progress: Callable[[Progress], None],
    go_on: Callable[[], bool] = lambda: True,
    probe: Callable[[], Probe | None] = lambda: None,
) -> Iterator[EpochRecord]:
    """Train from the state's step to the end, one epoch an iteration.

    The state is complete whenever this yields and whenever ``go_on`` is asked: what is saved there and
    loaded into a new state goes on exactly as this run would have. Stop by not asking for the next
    epoch, or within one by ``go_on``.

    Args:
        state: Networks, optimisers and place; changed as training goes.
        task: Config and data geometry.
        schedule: Where each step lies.
        batches: This worker's part of every global batch from ``state.step`` on, in order.
        validate: Scores D on the validation split; called on every worker.
        cell_target: (h * w,) P^o for stage 2.
        on_progress: Told every few seconds.
        go_on: Asked after every step but an epoch's last, on every worker; False ends the iteration.
        probe: Measures how hard each augmentation is, at every epoch's end from stage 2 on.

    Yields:
        The record of each finished epoch, already part of the state's history.

    Raises:
        RuntimeError: The stream skipped or repeated a step.
    """
    device = state.device
    stream = iter(batches)
    stage: Stage | None = None
    step: Callable[[CanvasBatch], StepStatistics]
    while state.step < schedule.total_steps:
        position = schedule.position(state.step)
        rates = _set_rates(state, position.stage)
        if position.stage is not stage:
            stage = position.stage
            module = _stage_module(state, task, stage, cell_target)
            step = make_stepper(module, [state.optimizers[name] for name in rates], state.config, device)
        clock = _Clock(state.epoch, schedule, position, on_progress)
        while True:
            batch = clock.waited_for(lambda: next(stream, None))
            if batch is None or batch.step != state.step:
                given = "ended" if batch is None else f"gave step {batch.step}"
                raise RuntimeError(f"the stream {given} where step {state.step} was due")
            statistics = step(batch)
            state.step += 1
            clock.stepped(state.step, statistics)
            if schedule.position(state.step - 1).ends_epoch:
                clock.settle(state.step, device)
                break
            if not go_on():
                return
        _share_buffers(state)
        validation = _validation(state, position.stage, validate)
        # Stage 1 may be shared by runs of other bins and cells, so nothing of it is measured by them.
        measured = None if position.stage is Stage.POSE else probe()
        record = clock.record(state.step, rates, device, validation, measured)
        state.history.append(record)
        state.epoch = RunningEpoch()
        yield record


def _share_buffers(state: TrainState) -> None:
    """Give every worker the BatchNorm statistics of rank 0, which are what a checkpoint holds.

    Workers would otherwise validate, and in stage 2 sweep, with statistics of their own, and do so
    differently once the run is resumed.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        for net in state.networks.values():
            for buffer in net.buffers():
                dist.broadcast(buffer, src=0)


def _validation(state: TrainState, stage: Stage, validate: Callable[[], Validation]) -> Validation:
    """Score D where it may have changed; stage 2 leaves it as it was."""
    if stage is Stage.PRETRAIN and state.history:
        return Validation(state.history[-1].metric, state.history[-1].joints)
    return validate()


def _set_rates(state: TrainState, stage: Stage) -> dict[str, float]:
    """Set the learning rates of the networks that a stage trains, and return them by name."""
    rates = {
        name: rate
        for name, rate in learning_rates(state.config, stage, state.history).items()
        if name in state.optimizers
    }
    for name, rate in rates.items():
        for group in state.optimizers[name].param_groups:
            group["lr"] = rate
    return rates


def _stage_module(state: TrainState, task: Task, stage: Stage, cell_target: Tensor) -> nn.Module:
    """Return a stage's step, averaging gradients over the workers if there are several."""
    trained = learning_rates(state.config, stage, state.history)
    for name, net in state.networks.items():
        net.requires_grad_(name in trained)
        net.train()
    module: nn.Module
    if stage is Stage.POSE:
        module = PoseStep(task, state.pose_net)
    elif stage is Stage.PRETRAIN:
        module = PretrainStep(task, state.pose_net, state.asr_net, state.aho_net, cell_target, state.sweep_targets)
    else:
        module = JointStep(task, state.pose_net, state.asr_net, state.aho_net)
    if dist.is_initialized() and dist.get_world_size() > 1:
        module = DistributedDataParallel(module)
    return module


class _Clock:
    """Times the running epoch and gathers its statistics."""

    def __init__(
        self, epoch: RunningEpoch, schedule: Schedule, position: Position, on_progress: Callable[[Progress], None]
    ) -> None:
        self._epoch = epoch
        self._schedule = schedule
        self._position = position
        self._on_progress = on_progress
        self._told = time.monotonic()
        # A resumed epoch has been running for as long as its earlier starts trained it.
        self._started = self._told - epoch.seconds

    def waited_for(self, get: Callable[[], CanvasBatch | None]) -> CanvasBatch | None:
        """Run ``get`` and count its time as waiting for data."""
        before = time.monotonic()
        batch = get()
        self._epoch.waited_s += time.monotonic() - before
        return batch

    def stepped(self, step: int, statistics: StepStatistics) -> None:
        """Count a step, and tell of it every few seconds."""
        epoch = self._epoch
        epoch.steps += 1
        epoch.meter.add(statistics)
        now = time.monotonic()
        epoch.seconds = now - self._started
        if now - self._told < PROGRESS_EVERY_S:
            return
        self._told = now
        self._on_progress(
            Progress(
                stage=self._position.stage.label,
                epoch=self._position.epoch + 1,
                epochs=self._schedule.span(step - 1).epochs,
                step=step,
                total_steps=self._schedule.total_steps,
                images_left=(self._schedule.total_steps - step) * self._schedule.batch_size,
                images_per_s=epoch.steps * self._schedule.batch_size / epoch.seconds,
                means=epoch.meter.local_means(),
            )
        )

    def settle(self, step: int, device: torch.device) -> None:
        """Count what the device has yet to do of the epoch's steps, which were only started."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            self._epoch.seconds = time.monotonic() - self._started

    def record(
        self,
        step: int,
        rates: dict[str, float],
        device: torch.device,
        validation: Validation,
        probe: Probe | None,
    ) -> EpochRecord:
        """Return the epoch's record."""
        epoch = self._epoch
        return EpochRecord(
            stage=self._position.stage.label,
            epoch=self._position.epoch + 1,
            step=step,
            images=epoch.steps * self._schedule.batch_size,
            seconds=epoch.seconds,
            waiting_share=epoch.waited_s / epoch.seconds,
            metric=validation.metric,
            means=epoch.meter.means(device),
            learning_rates=rates,
            joints=validation.joints,
            probe=probe,
        )
