"""Where a search keeps what belongs to its trials.

A trial that copies another begins a generation, with a folder of checkpoints of its own: steps come
again, with other weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray_advpose.cluster.checkpoint_store import CHECKPOINTS, FolderStore
from ray_advpose.training.checkpoint import MANIFEST

POINTER = "pointer.json"
_TRIALS = "trials"
# trials/ID/checkpoints/step_N
_CHECKPOINT_PARTS = 4
_LATER_GENERATION = re.compile(rf"{CHECKPOINTS}_g(\d+)")


def trial_number(trial_id: str) -> int:
    """Return a trial's number in its search."""
    return int(trial_id.rpartition("_")[2])


def trial_folder(output: Path, trial_id: str) -> Path:
    """Return the folder of a trial's config, log, history, events and checkpoints."""
    return output / _TRIALS / trial_id


def trial_folders(output: Path) -> dict[str, Path]:
    """Return the folders of the trials that have begun, by name."""
    return {folder.name: folder for folder in sorted(output.glob(f"{_TRIALS}/*")) if folder.is_dir()}


def checkpoints_of(output: Path, trial_id: str, generation: int) -> str:
    """Return the folder of a trial's checkpoints since it last copied another, ``generation`` times so far."""
    name = f"{CHECKPOINTS}_g{generation}" if generation else CHECKPOINTS
    return str(trial_folder(output, trial_id) / name)


def place_now(place: str, output: Path) -> str:
    """Return where a trial's checkpoint is by now: its search's folder may have been moved since.

    Args:
        place: Where it was, below the search's folder of that time.
        output: The search's folder.
    """
    parts = Path(place).parts[-_CHECKPOINT_PARTS:]
    return str(output.joinpath(*parts)) if parts[0] == _TRIALS and len(parts) == _CHECKPOINT_PARTS else place


@dataclass(frozen=True)
class Pointer:
    """What Tune keeps as a trial's checkpoint: where the real one is.

    Attributes:
        trial_id: Whose it is.
        generation: How often the trial has copied another.
        checkpoint: Its place; None before the first.
        reported: Steps done at the last report, which may have come without a checkpoint.
    """

    trial_id: str
    generation: int
    checkpoint: str | None
    reported: int = 0

    def write(self, folder: Path) -> None:
        """Write the pointer into one of Tune's checkpoint folders."""
        (folder / POINTER).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> Pointer:
        """Read the pointer in one of Tune's checkpoint folders."""
        return Pointer(**json.loads((folder / POINTER).read_text(encoding="utf-8")))

    @staticmethod
    def of(result: Any) -> Pointer | None:
        """Return the pointer in what Tune holds as a trial's latest checkpoint; None if it holds none."""
        return Pointer.read(Path(result.checkpoint.path)) if result is not None else None


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint of an epoch's end.

    Attributes:
        score: Its validation score in percent.
        place: Its folder.
        trial_id: Whose it is.
        generation: Of the trial.
        step: Global steps done.
    """

    score: float
    place: Path
    trial_id: str
    generation: int
    step: int


def scored_checkpoints(output: Path) -> list[ScoredCheckpoint]:
    """Return the checkpoints of epochs' ends of all trials of a search, best first; the earliest of equals."""
    found = []
    for folder, trial_id, generation in _generations(output):
        store = FolderStore(str(folder))
        for step in store.steps():
            place = Path(store.place_of(step))
            try:
                score = json.loads((place / MANIFEST).read_text(encoding="utf-8")).get("score")
            except FileNotFoundError:  # deleted meanwhile by a search that is at work
                continue
            if score is not None and not math.isnan(score):
                found.append(ScoredCheckpoint(score, place, trial_id, generation, step))
    # A copy and what it was copied from have the same score and step.
    return sorted(found, key=lambda each: (-each.score, each.step, each.generation, each.trial_id))


def prune_abandoned(output: Path, generations: Mapping[str, int]) -> None:
    """Delete the checkpoints of generations that have ended, but for the best of them all.

    Every trial keeps the best of its own generation, so the best of the search stays.

    Args:
        output: Folder of the search.
        generations: Of each trial that is still training, by its name.
    """

    def ended(trial_id: str, generation: int) -> bool:
        return generation < generations.get(trial_id, generation)

    best = next((each for each in scored_checkpoints(output) if ended(each.trial_id, each.generation)), None)
    for folder, trial_id, generation in _generations(output):
        if ended(trial_id, generation):
            store = FolderStore(str(folder))
            for step in store.steps():
                if best is None or Path(store.place_of(step)) != best.place:
                    store.delete(step)


def _generations(output: Path) -> Iterator[tuple[Path, str, int]]:
    """Yield every folder of checkpoints of a search, with its trial's name and the generation."""
    for folder in output.glob(f"{_TRIALS}/*/{CHECKPOINTS}*"):
        later = _LATER_GENERATION.fullmatch(folder.name)
        yield folder, folder.parent.name, int(later[1]) if later else 0
