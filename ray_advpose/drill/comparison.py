"""Whether a disturbed run came to what an undisturbed one did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ray_advpose.cluster.sample_log import Step, read_samples
from ray_advpose.cluster.storage import fetched, last_whole, store_at
from ray_advpose.training.schedule import Schedule

_MISSING = -1
# What a clock says is not repeated.
_TIMES = {"seconds", "waiting_share", "waited_s"}


@dataclass(frozen=True)
class Check:
    """One line of a verdict."""

    question: str
    passed: bool
    found: str


def compare_runs(whole: Path, disturbed: Path, checkpoints: tuple[str, str], schedule: Schedule) -> list[Check]:
    """Compare two runs' last checkpoints and sample logs.

    Args:
        whole: Folder of the undisturbed run.
        disturbed: Folder of the other.
        checkpoints: Their places for checkpoints.
        schedule: Of both.
    """
    contents = [_last_content(place) for place in checkpoints]
    checks = [
        _equal(f"{part}: equal bit for bit", contents[0][part], contents[1][part])
        for part in ("networks", "optimizers", "sweep_targets", "history", "step")
    ]
    try:
        first, second = read_samples(whole), read_samples(disturbed)
    except ValueError as error:
        return [*checks, Check("samples and canvases of every step: equal", passed=False, found=str(error))]
    return [*checks, _same_samples(first, second, schedule), _once_an_epoch(second, schedule)]


def _last_content(checkpoints: str) -> dict[str, Any]:
    place = last_whole(store_at(checkpoints), skipped=lambda sentence: None)
    assert place is not None, f"{checkpoints} has no whole checkpoint"
    with fetched(place) as folder:
        content: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    return content


def _equal(question: str, first: Any, second: Any) -> Check:
    ours, theirs = dict(_leaves(first)), dict(_leaves(second))
    different = [name for name in ours.keys() | theirs.keys() if not _same(ours.get(name), theirs.get(name))]
    found = f"{len(ours)} values" if not different else f"{len(different)} of {len(ours)} differ: {min(different)}"
    return Check(question, not different, found)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in _TIMES:
                yield from _leaves(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{name}.{index}")
    else:
        yield name, value


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    return type(first) is type(second) and bool(first == second)


def _same_samples(first: dict[int, Step], second: dict[int, Step], schedule: Schedule) -> Check:
    question = "samples and canvases of every step: equal"
    different = [
        step
        for step in sorted({*range(schedule.total_steps), *first, *second})
        if not first.get(step) or first.get(step) != second.get(step)
    ]
    if different:
        return Check(question, passed=False, found=f"{len(different)} steps differ, the first is {min(different)}")
    return Check(question, passed=True, found=f"{len(first)} steps")


def _once_an_epoch(steps: dict[int, Step], schedule: Schedule) -> Check:
    """Check that each epoch's places in the stream hold each of its images once."""
    question = "every sample exactly once an epoch"
    epochs = 0
    for span in schedule.spans:
        order = [
            steps.get(step, {}).get(slot, (_MISSING, 0))[0]
            for step in range(span.first_step, span.end_step)
            for slot in range(schedule.batch_size)
        ]
        for start in range(0, len(order) - span.images + 1, span.images):
            epochs += 1
            samples = Counter(order[start : start + span.images])
            if set(samples.values()) != {1} or _MISSING in samples:
                epoch = start // span.images + 1
                return Check(question, passed=False, found=f"not in {span.stage.label} epoch {epoch}")
    return Check(question, passed=True, found=f"{epochs} epochs")
