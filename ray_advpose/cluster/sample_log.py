"""Which samples a run has really trained on, as its workers saw them.

Each worker adds a line for every batch it takes. A step that is trained again after a cut is logged
again, and must then say the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ray_advpose.training.batch import CanvasBatch

_SAMPLES = "samples"
_LONGEST_LINE_BYTES = 1 << 18

Step = dict[int, tuple[int, int]]
"""Slot in the global batch -> index in the training split, and a checksum of the canvas and its joints."""


def logged(batches: Iterable[CanvasBatch], folder: Path, rank: int) -> Iterator[CanvasBatch]:
    """Pass batches on and log them.

    Args:
        batches: One worker's.
        folder: The run's folder.
        rank: The worker.
    """
    path = _path(folder, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: a line is in the file once it is written, whatever then kills the process.
    with path.open("ab", buffering=0) as file:
        for batch in batches:
            sums = [
                zlib.crc32(joints.tobytes(), zlib.crc32(canvas.tobytes()))
                for canvas, joints in zip(batch.canvas.numpy(), batch.joints_cv.numpy(), strict=True)
            ]
            line = {"step": batch.step, "slot": batch.slot.tolist(), "sample": batch.sample.tolist(), "crc32": sums}
            file.write(f"{json.dumps(line)}\n".encode())
            yield batch


def read_samples(folder: Path) -> dict[int, Step]:
    """Return what a run has trained on, step by step.

    Raises:
        ValueError: A step that was trained more than once was not the same each time; names step and slot.
    """
    steps: dict[int, Step] = {}
    for path in sorted((folder / _SAMPLES).glob("rank-*.jsonl")):
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # Cut off in the middle of a write; the step is logged again when it is trained again.
            step = steps.setdefault(line["step"], {})
            for slot, sample, crc32 in zip(line["slot"], line["sample"], line["crc32"], strict=True):
                if step.setdefault(slot, (sample, crc32)) != (sample, crc32):
                    raise ValueError(
                        f"{path}: step {line['step']}, slot {slot} holds sample {sample} ({crc32:08x}),"
                        f" and elsewhere {step[slot][0]} ({step[slot][1]:08x})"
                    )
    return steps


def last_step(folder: Path) -> int:
    """Return the step that rank 0 took a batch for last; -1 before the first."""
    lines = _end(_path(folder, rank=0)).split(b"\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else -1


def logged_bytes(folder: Path) -> int:
    """Return the length of rank 0's log, which grows with every batch it takes."""
    path = _path(folder, rank=0)
    return path.stat().st_size if path.is_file() else 0


def _end(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_LINE_BYTES))
        return file.read()


def _path(folder: Path, rank: int) -> Path:
    return folder / _SAMPLES / f"rank-{rank}.jsonl"
