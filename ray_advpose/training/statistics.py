"""Running means of a step's statistics, kept on the device until somebody asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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

    def state_dict(self) -> dict[str, Any]:
        """Return the names and every worker's (names, 2) sums and counts; called on every worker."""
        tables = [self._table().cpu() if self._sums else torch.empty(0, 2, dtype=torch.float64)]
        if dist.is_initialized() and dist.get_world_size() > 1:
            mine = tables[0]
            tables = [mine] * dist.get_world_size()
            dist.all_gather_object(tables, mine)
        return {"names": sorted(self._sums), "tables": tables}

    def load_state_dict(self, saved: dict[str, Any], device: torch.device) -> None:
        """Take over what was saved.

        As many workers as there were take up each its own sums, so that adding goes on in the same
        order; with another number of workers the first takes up the sums of all.
        """
        rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        tables = saved["tables"]
        if len(tables) == workers:
            mine = tables[rank]
        else:
            whole = torch.stack(tables).sum(dim=0)
            mine = whole if rank == 0 else torch.zeros_like(whole)
        self._sums = {name: row[0].to(device) for name, row in zip(saved["names"], mine, strict=True)}
        self._counts = {name: row[1].to(device) for name, row in zip(saved["names"], mine, strict=True)}

    def _table(self) -> Tensor:
        return torch.stack([torch.stack([self._sums[name], self._counts[name]]) for name in sorted(self._sums)])

    def _divided(self, table: Tensor) -> dict[str, float]:
        rows = zip(sorted(self._sums), table.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}


@dataclass
class RunningEpoch:
    """What is known of the epoch that is running; a checkpoint taken within it holds this.

    Attributes:
        meter: Its statistics.
        steps: Its steps done.
        seconds: Wall time of them, over all starts of the run.
        waited_s: What of that was spent waiting for data.
    """

    meter: Meter = field(default_factory=Meter)
    steps: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return everything; within an epoch called on every worker."""
        meter = self.meter.state_dict() if self.steps else {"names": [], "tables": []}
        return {"steps": self.steps, "seconds": self.seconds, "waited_s": self.waited_s, "meter": meter}

    @staticmethod
    def from_state_dict(saved: dict[str, Any], device: torch.device) -> RunningEpoch:
        """Return what `state_dict` gave."""
        meter = Meter()
        if saved["steps"]:
            meter.load_state_dict(saved["meter"], device)
        return RunningEpoch(meter, saved["steps"], saved["seconds"], saved["waited_s"])
