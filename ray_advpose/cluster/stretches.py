"""When a run's training began again, from what, and how long that took: one line a stretch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

_STRETCHES = "stretches.jsonl"


@dataclass(frozen=True)
class Stretch:
    """A stretch of training with one config.

    Attributes:
        generation: How often the trial had copied another by then; 0 for a run that is no trial.
        checkpoint: What it began from; None: fresh weights.
        step: Global steps done by then.
        taken_at: Unix time at which the workers had the assignment.
        loaded_at: Unix time at which networks and optimisers were as in the checkpoint.
        trained_at: Unix time at which the first step was done.
        mapped: Fields in which heads of augmentation networks were mapped.
        digests: Of what was loaded, see `ray_advpose.training.digests`; empty unless it was another trial's.
    """

    generation: int
    checkpoint: str | None
    step: int
    taken_at: float
    loaded_at: float
    trained_at: float
    mapped: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


class StretchRecorder:
    """Notes a stretch as soon as its first step is done.

    Args:
        folder: The run's.
        begun: The stretch without the time of its first step.
        on_trained: Told the whole of it.
    """

    def __init__(self, folder: Path, begun: Stretch, on_trained: Callable[[Stretch], None]) -> None:
        self._folder = folder
        self._begun: Stretch | None = begun
        self._on_trained = on_trained

    def stepped(self) -> None:
        """Called after each step."""
        if self._begun is None:
            return
        stretch, self._begun = replace(self._begun, trained_at=time.time()), None
        with (self._folder / _STRETCHES).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(asdict(stretch))}\n".encode())
        self._on_trained(stretch)


def read_stretches(folder: Path) -> list[Stretch]:
    """Return the stretches of a run, in order; those that came to a step."""
    path = folder / _STRETCHES
    if not path.is_file():
        return []
    # A line that is being written has no end yet.
    return [Stretch(**json.loads(line)) for line in path.read_bytes().split(b"\n")[:-1]]
