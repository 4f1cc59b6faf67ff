"""What a field may be in a search: its values or bounds, how it is drawn, and how it is moved a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

# What a number is multiplied by when it is moved; the choice of Jaderberg et al. 2017, as Tune has it.
_UP, _DOWN = 1.2, 0.8


@dataclass(frozen=True)
class Choice:
    """One of some values, in their order."""

    values: tuple[Any, ...]
    kind: Literal["choice"] = "choice"

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a Choice needs at least one value")

    def __str__(self) -> str:
        return " or ".join(map(str, self.values))

    def at(self, quantile: float) -> Any:
        """Return the value at a quantile in [0, 1)."""
        return self.values[int(quantile * len(self.values))]

    def moved(self, value: Any, up: bool) -> Any:
        """Return the next value, or the one before; at an end the only neighbour there is."""
        if value not in self.values:
            return self.values[0]
        place, last = self.values.index(value), len(self.values) - 1
        neighbour = place + (1 if up else -1)
        return self.values[neighbour if 0 <= neighbour <= last else min(max(2 * place - neighbour, 0), last)]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        return value in self.values

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be valid for the domain to be."""
        return self.values


@dataclass(frozen=True)
class _Range:
    """Any number between two bounds."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def moved(self, value: float, up: bool) -> float:
        """Return the value times 1.2 or 0.8, kept to the bounds; the other of the two where that changes nothing.

        Zero moves by a fifth of the range.
        """
        for factor in (_UP, _DOWN) if up else (_DOWN, _UP):
            moved = min(max(value * factor, self.low), self.high)
            if moved != value:
                return moved
        # Only zero stays where it is. At most a fifth of the range away lies one of its two sides.
        away = (_UP - 1) * (self.high - self.low)
        return away if (up and away <= self.high) or -away < self.low else -away

    def holds(self, value: Any) -> bool:
        """Whether a value lies within the bounds."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be valid for the domain to be."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Uniform(_Range):
    """Any number between two bounds, evenly."""

    kind: Literal["uniform"] = "uniform"

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Uniform({self.low}, {self.high}): the first bound must be below the second")

    def at(self, quantile: float) -> float:
        """Return the value at a quantile in [0, 1)."""
        return self.low + quantile * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(_Range):
    """Any number between two positive bounds, evenly in its logarithm."""

    kind: Literal["log_uniform"] = "log_uniform"

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"LogUniform({self.low}, {self.high}): the bounds must be positive and rising")

    def __str__(self) -> str:
        return f"{super().__str__()}, evenly in its logarithm"

    def at(self, quantile: float) -> float:
        """Return the value at a quantile in [0, 1)."""
        value = math.exp(math.log(self.low) + quantile * math.log(self.high / self.low))
        return min(max(value, self.low), self.high)  # rounding may step over a bound


AnyDomain = Choice | Uniform | LogUniform
Domain = Annotated[AnyDomain, Field(discriminator="kind")]
