"""When a command came to what, over all its processes: one line a mark, in ``timeline.jsonl``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_TIMELINE = "timeline.jsonl"


@dataclass(frozen=True)
class Mark:
    """One moment.

    Attributes:
        what: What had been reached.
        at: Unix time.
        pid: Of the process that had.
    """

    what: str
    at: float
    pid: int


def mark(folder: Path, what: str) -> None:
    """Note that something has been reached now."""
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(Mark(what, time.time(), os.getpid())))
    with (folder / _TIMELINE).open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def read_timeline(folder: Path) -> list[Mark]:
    """Return the marks of a command's folder, in order of time."""
    path = folder / _TIMELINE
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return sorted((Mark(**json.loads(line)) for line in lines), key=lambda each: each.at)
