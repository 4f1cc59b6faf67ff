"""Running means of a step's statistics, kept on the device until somebody asks."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ray_advpose.training.pose_step import StepStatistics


class Meter:
    """Accumulates step statistics without stalling the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, statistics: StepStatistics) -> None:
        """Add one step."""
        for name, (total, count) in statistics.items():
            total = total.detach().double()
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] = self._counts.get(name, torch.zeros_like(total)) + count

    def means(self, device: torch.device) -> dict[str, float]:
        """Return the mean of everything added so far, over all workers; called on every worker.

        What was counted for no image is left out.
        """
        if not self._sums:
            return {}
        table = self._table().to(device)
        if dist.is_initialized():
            dist.all_reduce(table)
        return self._divided(table)

    def local_means(self) -> dict[str, float]:
        """Return the mean of everything added so far on this worker; one device stall."""
        return self._divided(self._table()) if self._sums else {}

    def _table(self) -> Tensor:
        return torch.stack([torch.stack([self._sums[name], self._counts[name]]) for name in sorted(self._sums)])

    def _divided(self, table: Tensor) -> dict[str, float]:
        rows = zip(sorted(self._sums), table.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}
