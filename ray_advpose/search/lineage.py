"""Who copied whom, on disk: ``lineage.jsonl`` of a search, one line an event.

Written before anything is done about it, so that a search that is cut in the middle of an exploit
finds what was decided and completes it. A line that was cut off while being written is as if it had
never been begun.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray_advpose.search.exploit import Exploit, Standing
from ray_advpose.search.places import place_now

LINEAGE = "lineage.jsonl"


@dataclass(frozen=True)
class Stretch:
    """Part of the path that led to a network: settings from a moment on.

    Attributes:
        barrier: The moment of decision it begins at; 0 is the start of training.
        trial: Who trained it.
        generation: Of that trial.
        overrides: Its settings.
    """

    barrier: int
    trial: int
    generation: int
    overrides: Mapping[str, Any]


class Lineage:
    """Standings and decisions of a population, in the order in which they were written.

    Args:
        path: The file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._standings: dict[int, dict[int, Standing]] = {}
        self._decisions: dict[int, list[Exploit]] = {}
        self._whole_bytes = 0
        if path.is_file():
            self._read(path.read_bytes())

    @property
    def exploits(self) -> list[Exploit]:
        """All exploits, by moment and trial."""
        return [exploit for barrier in sorted(self._decisions) for exploit in self._decisions[barrier]]

    @property
    def decided(self) -> int:
        """The last moment that was decided on; 0 before the first."""
        return max(self._decisions, default=0)

    def standings(self, barrier: int) -> dict[int, Standing]:
        """Return how trials stood at a moment, by number; those that have come so far."""
        return dict(self._standings.get(barrier, {}))

    def all_standings(self) -> list[Standing]:
        """Return every standing, by moment and trial."""
        return [
            self._standings[barrier][trial]
            for barrier in sorted(self._standings)
            for trial in sorted(self._standings[barrier])
        ]

    def last_exploit(self, trial: int) -> Exploit | None:
        """Return the last exploit by a trial."""
        mine = [exploit for exploit in self.exploits if exploit.trial == trial]
        return mine[-1] if mine else None

    def add_standing(self, standing: Standing) -> None:
        """Note how a trial stands; one that comes to a moment again, as after a cut, stands as it does now."""
        self._append({"event": "standing", "at": time.time(), **asdict(standing)})
        self._take_standing(standing)

    def add_decision(self, barrier: int, exploits: Sequence[Exploit]) -> None:
        """Note what was decided at a moment; it holds from here on."""
        assert barrier not in self._decisions
        listed = [exploit.as_dict() for exploit in exploits]
        self._append({"event": "decision", "at": time.time(), "barrier": barrier, "exploits": listed})
        self._decisions[barrier] = list(exploits)

    def path_to(self, trial: int, generation: int, initial: Sequence[Mapping[str, Any]]) -> list[Stretch]:
        """Return the settings that led to a trial in one of its generations, from the start of training on.

        Args:
            trial: Its number.
            generation: Which of its generations.
            initial: What each trial of the search began with, by number.
        """
        paths = {(number, 0): [Stretch(0, number, 0, overrides)] for number, overrides in enumerate(initial)}
        for exploit in self.exploits:
            inherited = paths[exploit.donor, exploit.donor_generation]
            own = Stretch(exploit.barrier, exploit.trial, exploit.generation, exploit.overrides)
            paths[exploit.trial, exploit.generation] = [*inherited, own]
        return paths[trial, generation]

    def _read(self, content: bytes) -> None:
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            event = json.loads(line)
            self._whole_bytes += len(line)
            del event["at"]
            if (kind := event.pop("event")) == "standing":
                self._take_standing(Standing(**self._here(event)))
            else:
                assert kind == "decision", kind
                exploits = [Exploit(**self._here(exploit)) for exploit in event["exploits"]]
                self._decisions[event["barrier"]] = exploits

    def _here(self, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "checkpoint": place_now(event["checkpoint"], self.path.parent)}

    def _take_standing(self, standing: Standing) -> None:
        self._standings.setdefault(standing.barrier, {})[standing.trial] = standing

    def _append(self, event: dict[str, Any]) -> None:
        line = (json.dumps(event) + "\n").encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # What a cut has left of a line would make the next one unreadable.
            file.truncate(self._whole_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._whole_bytes += len(line)
