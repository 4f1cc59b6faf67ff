"""How each trial of a search ended, which Tune's results do not tell: one line an ending."""

from __future__ import annotations

import json
from pathlib import Path

ENDINGS = "endings.jsonl"
FINISHED, STOPPED, FAILED, CUT = "finished", "stopped early", "failed", "cut"


def write_ending(path: Path, trial_id: str, ending: str) -> None:
    """Add how a trial ended."""
    line = json.dumps({"trial": trial_id, "ending": ending})
    with path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def read_endings(path: Path) -> dict[str, str]:
    """Return how each trial ended the last time it did, by its name; trials that have not are not in it."""
    # A line that is being written has no end yet.
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return {event["trial"]: event["ending"] for event in map(json.loads, lines)}
