"""What a search may cost and has cost, over all its starts."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ray_advpose.errors import UserError

_SPENT = "spent.json"
_WRITE_EVERY_S = 5.0


@dataclass(frozen=True)
class Budget:
    """When a search ends although trials are left; None: never.

    Attributes:
        max_hours: Hours of wall time.
        max_trials: Trials that are started.
        max_cost: Cost at ``price``.
        price: Of an hour of one GPU, or of one CPU where trials have no GPU.
    """

    max_hours: float | None = None
    max_trials: int | None = None
    max_cost: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} {value:g}: expected more than 0")
        if self.max_cost is not None and self.price is None:
            raise UserError(f"--max-cost {self.max_cost:g} needs --price, of an hour of a GPU, or of a CPU without")

    def arguments(self) -> list[str]:
        """Return the command-line arguments that say the same."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", f"{value:g}")]


@dataclass(frozen=True)
class Spent:
    """What a search has used up.

    Attributes:
        hours: Wall time while it ran.
        device_hours: Hours that its trials held a GPU, or a CPU where they have no GPU.
    """

    hours: float = 0.0
    device_hours: float = 0.0


class Meter:
    """Adds up what a search uses, beyond the end of its process.

    Args:
        output: The search's folder.
        budget: What it may use.
        devices_each: GPUs of a running trial, or its CPUs where it has no GPU.
    """

    def __init__(self, output: Path, budget: Budget, devices_each: float) -> None:
        self._path = output / _SPENT
        self._budget = budget
        self._devices_each = devices_each
        self.spent = read_spent(output)
        self._seen_at = self._written_at = time.monotonic()

    def count(self, running: int) -> None:
        """Add the time since the last call, in which so many trials ran."""
        now = time.monotonic()
        hours = (now - self._seen_at) / 3600
        self._seen_at = now
        self.spent = Spent(self.spent.hours + hours, self.spent.device_hours + hours * running * self._devices_each)
        if now - self._written_at > _WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Put down what has been used so far."""
        self._written_at = self._seen_at
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self.spent)), encoding="utf-8")
        partial.replace(self._path)

    @property
    def cost(self) -> float | None:
        """What the search has cost; None without a price."""
        return None if self._budget.price is None else self.spent.device_hours * self._budget.price

    def exceeded(self) -> str | None:
        """Return in words which part of the budget is used up; None while there is some of each."""
        if self._budget.max_hours is not None and self.spent.hours >= self._budget.max_hours:
            return f"--max-hours {self._budget.max_hours:g} is reached"
        if self._budget.max_cost is not None and (self.cost or 0.0) >= self._budget.max_cost:
            return f"--max-cost {self._budget.max_cost:g} is reached"
        return None

    def left(self) -> str | None:
        """Return in words what is left of the budget; None without one."""
        parts = []
        if self._budget.max_hours is not None:
            parts.append(f"{max(0.0, self._budget.max_hours - self.spent.hours):.2f} h")
        if self._budget.max_cost is not None:
            parts.append(f"{max(0.0, self._budget.max_cost - (self.cost or 0.0)):.2f} of the cost")
        return " and ".join(parts) + " left of the budget" if parts else None


def read_spent(output: Path) -> Spent:
    """Return what a search has used up so far."""
    path = output / _SPENT
    return Spent(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Spent()
