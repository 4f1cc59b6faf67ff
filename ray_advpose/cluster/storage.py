"""Where a run's checkpoints are kept: written whole or not at all, the last few and the best.

A location is a folder that every node can reach. A checkpoint appears there by a rename.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST, DataIdentity, read_manifest, write_checkpoint
from ray_advpose.training.state import TrainState

_PREFIX = "step_"


def commit_checkpoint(state: TrainState, data: DataIdentity, folder: Path) -> Path:
    """Write a checkpoint below a run's checkpoint folder and return where it is.

    Repeating a step, as after a worker's death, replaces what was there.
    """
    final = checkpoint_at(folder, state.step)
    partial = folder / f".{final.name}.{os.getpid()}.partial"
    try:
        write_checkpoint(partial, state, data)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def share_checkpoint(state: TrainState, data: DataIdentity, folder: Path) -> None:
    """Write a checkpoint where other runs look for it, unless one of them has put an equal one there."""
    if is_whole(folder):
        return
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    try:
        write_checkpoint(partial, state, data)
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            # Who comes second at the same moment finds the folder taken, by the same content.
            with suppress(OSError):
                partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a checkpoint with all its files as they were written."""
    try:
        read_manifest(folder)
    except UserError:
        return False
    return True


def keep_checkpoints(folder: Path, steps_by_score: Sequence[int], keep_last: int) -> None:
    """Delete a run's checkpoints other than the last few and the best one there is.

    Args:
        folder: The run's checkpoint folder.
        steps_by_score: Steps of all epochs, best first; not all of them need have a checkpoint.
        keep_last: How many of the last to keep.
    """
    steps = checkpoint_steps(folder)
    best = next((step for step in steps_by_score if step in steps), None)
    for step in steps[:-keep_last]:
        if step != best:
            shutil.rmtree(checkpoint_at(folder, step))


def checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps a run has committed checkpoints of, ascending."""
    return sorted(int(path.parent.name.removeprefix(_PREFIX)) for path in folder.glob(f"{_PREFIX}*/{MANIFEST}"))


def checkpoint_at(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return folder / f"{_PREFIX}{step:09d}"
