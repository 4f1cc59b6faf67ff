"""Which process on which node was each worker of a run, over all its starts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import ray

_WORKERS = "workers"


@dataclass(frozen=True)
class WorkerRecord:
    """One start of one worker.

    Attributes:
        rank: Its rank.
        workers: How many there were.
        node: Ray's id of its node.
        pid: Its process.
        step: Global steps done when it started.
    """

    rank: int
    workers: int
    node: str
    pid: int
    step: int


def record_worker(folder: Path, rank: int, workers: int, step: int) -> None:
    """Add this process to a run's records."""
    record = WorkerRecord(rank, workers, ray.get_runtime_context().get_node_id(), os.getpid(), step)
    path = folder / _WORKERS / f"rank-{rank}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(f"{json.dumps(asdict(record))}\n".encode())


def read_workers(folder: Path, rank: int) -> list[WorkerRecord]:
    """Return all starts of a rank, in order."""
    path = folder / _WORKERS / f"rank-{rank}.jsonl"
    if not path.is_file():
        return []
    # A line that is being written has no end yet.
    lines = path.read_bytes().split(b"\n")[:-1]
    return [WorkerRecord(**json.loads(line)) for line in lines]
