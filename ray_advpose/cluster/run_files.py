"""Files of a run that other processes read while it trains."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ray_advpose.errors import UserError
from ray_advpose.training.history import EpochRecord

_HISTORY = "history.json"
CONFIG = "config.yaml"
LOG = "log.txt"
INPUTS = "inputs.jpg"
BEFORE_JOINT = "predictions_before_joint.npz"
"""Predictions on the validation split when stage 3 began, in a form that scores itself."""
LATEST = "predictions_latest.npz"
"""Likewise, at the end of the last epoch of stage 3 so far."""


def write_history(folder: Path, history: list[EpochRecord]) -> None:
    """Write all epochs of a run, in place of those written before."""
    partial = folder / f".{_HISTORY}.partial"
    partial.write_text(json.dumps([asdict(entry) for entry in history], indent=1), encoding="utf-8")
    partial.replace(folder / _HISTORY)


def read_history(folder: Path) -> list[EpochRecord]:
    """Return the epochs a run has recorded, none if it has not finished one; `UserError` if they cannot be read."""
    path = folder / _HISTORY
    if not path.is_file():
        return []
    try:
        return [EpochRecord.from_dict(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read as a run's history: {error}") from None
