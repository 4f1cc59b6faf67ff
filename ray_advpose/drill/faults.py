"""What a drill does to a run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ray_advpose.counter import Purpose, generator
from ray_advpose.errors import UserError, nearest


class Kind(StrEnum):
    """Faults by what is lost."""

    WORKER = "worker"
    READER = "reader"
    DRIVER = "driver"
    TRUNCATED = "truncated"
    STOP = "stop"
    NODE = "node"
    DRAIN = "drain"

    @property
    def meaning(self) -> str:
        """What is done."""
        return _MEANINGS[self]

    @property
    def ends_the_command(self) -> bool:
        """Whether somebody has to give the command again."""
        return self in (Kind.DRIVER, Kind.TRUNCATED, Kind.STOP)

    @property
    def needs_own_nodes(self) -> bool:
        """Whether it needs nodes that are this drill's own."""
        return self in (Kind.NODE, Kind.DRAIN, Kind.READER)


_MEANINGS = {
    Kind.WORKER: "a training worker is killed (SIGKILL)",
    Kind.READER: "a process that reads data is killed (SIGKILL) in its task",
    Kind.DRIVER: "the command itself is killed (SIGKILL) and given again",
    Kind.TRUNCATED: "the command is killed, half of its last checkpoint is cut off, and it is given again",
    Kind.STOP: "the command is asked to stop (SIGTERM) and resumed by --resume",
    Kind.NODE: "the machine of the workers is gone without notice, another takes over",
    Kind.DRAIN: "the machine of the workers is drained with a deadline and then gone, another takes over",
}


@dataclass(frozen=True)
class Fault:
    """One fault, due once a global step has been begun."""

    kind: Kind
    step: int


def parse_fault(text: str) -> Fault:
    """Read ``worker@120``; `UserError` if it is no fault."""
    name, _, step = text.partition("@")
    if name not in set(Kind):
        raise UserError(
            f"--fault {text}: unknown fault {name!r}{nearest(name, map(str, Kind))}; there are {', '.join(Kind)}"
        )
    if not step.isdigit():
        raise UserError(f"--fault {text}: expected FAULT@STEP, such as {name}@120")
    return Fault(Kind(name), int(step))


def draw_faults(count: int, kinds: Sequence[Kind], total_steps: int, seed: int) -> list[Fault]:
    """Draw faults at random steps, every kind as often as the others, give or take one.

    Args:
        count: How many.
        kinds: Of which kinds.
        total_steps: Length of the run.
        seed: Of the drawing.

    Returns:
        Faults in the order of their steps, no two at the same.

    Raises:
        UserError: The run is too short.
    """
    rng = generator(seed, Purpose.DRILL)
    if count >= total_steps:
        raise UserError(f"--faults {count}: the run has only {total_steps} steps")
    steps = np.sort(rng.choice(np.arange(1, total_steps), count, replace=False))
    order = rng.permutation(np.resize(np.arange(len(kinds)), count))
    return [Fault(kinds[which], int(step)) for which, step in zip(order, steps, strict=True)]
