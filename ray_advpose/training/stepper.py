"""From a batch to changed networks: forward, backward, optimisers; as it is written, or replayed as a CUDA graph.

A small network's step is thousands of short operations, and to start them one by one takes a CPU several times
as long as a GPU takes to do them. Captured once and replayed, a step costs what the GPU takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ray_advpose.config import Config
from ray_advpose.training.batch import COMPUTED_ON, CanvasBatch
from ray_advpose.training.draws import StepDraws
from ray_advpose.training.joint_step import JointStep
from ray_advpose.training.pose_step import PoseStep, StepResult, StepStatistics

_EAGER_STEPS = 3
"""What a capture wants to have seen: libraries set up, the fastest convolutions found."""


def make_stepper(
    module: nn.Module, optimizers: Sequence[Optimizer], config: Config, device: torch.device
) -> Callable[[CanvasBatch], StepStatistics]:
    """Return what trains networks by a batch and returns the step's statistics.

    Args:
        module: A stage's step; its result is a loss and statistics.
        optimizers: Of the networks that the stage trains, their learning rates set.
        config: Precision, and whether steps are replayed.
        device: Where the networks are.
    """
    half = config.run.precision == "bfloat16"

    def forward(*given: Any) -> StepResult:
        # Without the cache: a weight that is first met in a pass without gradient would be kept without one.
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            result: StepResult = module(*given)
        return result

    def step(*given: Any) -> StepStatistics:
        loss, statistics = forward(*given)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return statistics

    # Stage 2 looks up what it has measured, image by image: no two of its steps are alike.
    if config.run.cuda_graphs and device.type == "cuda" and isinstance(module, PoseStep | JointStep):
        return _Replayed(module, step, optimizers, device)
    return lambda batch: step(batch.to(device))


@dataclass
class _Capture:
    """A graph, where it reads from, what it writes, and the learning rates it was captured with."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    statistics: StepStatistics
    rates: list[float]


class _Replayed:
    """Takes a few steps as they are written, then captures one and replays it, until a learning rate changes."""

    def __init__(
        self,
        module: PoseStep | JointStep,
        step: Callable[..., StepStatistics],
        optimizers: Sequence[Optimizer],
        device: torch.device,
    ) -> None:
        self._module = module
        self._step = step
        self._optimizers = optimizers
        self._device = device
        self._beside = torch.cuda.Stream(device)
        self._taken = 0
        self._captured: _Capture | None = None

    def __call__(self, batch: CanvasBatch) -> StepStatistics:
        draws = self._module.draws(batch)
        if self._taken < _EAGER_STEPS:
            self._taken += 1
            return self._eagerly(batch.to(self._device), draws.to(self._device))
        rates = [group["lr"] for optimizer in self._optimizers for group in optimizer.param_groups]
        if self._captured is None or self._captured.rates != rates:
            self._captured = self._capture(batch, draws, rates)
        given = [*_tensors(batch), *_tensors(draws)]
        for place, tensor in zip(self._captured.inputs, given, strict=True):
            place.copy_(tensor, non_blocking=True)
        self._captured.graph.replay()
        # The next replay overwrites them.
        return {name: (total.clone(), _kept(count)) for name, (total, count) in self._captured.statistics.items()}

    def _eagerly(self, batch: CanvasBatch, draws: StepDraws) -> StepStatistics:
        # On a stream of its own, as a capture wants what it captures to have run.
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            statistics = self._step(batch, draws)
        torch.cuda.current_stream().wait_stream(self._beside)
        return statistics

    def _capture(self, batch: CanvasBatch, draws: StepDraws, rates: list[float]) -> _Capture:
        """Record a step; recording computes nothing."""
        # Copies, as every later batch is written over them.
        copies = {name: getattr(batch, name).to(self._device, copy=True) for name in COMPUTED_ON}
        batch, draws = replace(batch, **copies), draws.to(self._device)
        inputs = [*_tensors(batch), *_tensors(draws)]
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        self._captured = None
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another may be writing a checkpoint.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            statistics = self._step(batch, draws)
        return _Capture(graph, inputs, statistics, rates)


def _kept(count: int | Tensor) -> int | Tensor:
    return count.clone() if isinstance(count, Tensor) else count


def _tensors(record: CanvasBatch | StepDraws) -> list[Tensor]:
    """Return all tensors of a record that a step computes on, in a fixed order."""
    if isinstance(record, CanvasBatch):
        return [getattr(record, name) for name in COMPUTED_ON]
    found: list[Tensor] = []
    for field in fields(record):
        part = getattr(record, field.name)
        if is_dataclass(part):
            found += [getattr(part, inner.name) for inner in fields(part)]
    return found
