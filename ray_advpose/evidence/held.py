"""A split decoded once, held in memory or on the GPU, for all runs of an experiment.

A few thousand canvases fit into the memory of any machine that trains on them. Held there, a training step
costs no reading and no decoding, and an experiment of dozens of runs needs no stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ray_advpose.counter import Purpose, generator
from ray_advpose.data.persons import Split
from ray_advpose.data.rows import columns_of
from ray_advpose.data.shards import PersonArrays, ShardSet, read_persons
from ray_advpose.data.validation import Truth, truth_of
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.evaluation import EvaluationBatch
from ray_advpose.training.schedule import Schedule

_DECODED_AT_ONCE = 256


@dataclass(frozen=True)
class HeldSplit:
    """All persons of a split.

    Attributes:
        canvas: (N, H, W, 3) uint8 RGB, where the networks are.
        joints_cv: (N, J, 2) float32 likewise.
        annotated: (N, J) bool likewise.
        normalizer_cv: (N,) float32 likewise.
        image_from_canvas: (N, 2, 3) float64, on the CPU.
        truth: What scores predictions.
    """

    canvas: Tensor
    joints_cv: Tensor
    annotated: Tensor
    normalizer_cv: Tensor
    image_from_canvas: Tensor
    truth: Truth

    def __len__(self) -> int:
        return len(self.canvas)

    def batch(self, step: int, samples: np.ndarray) -> CanvasBatch:
        """Return some persons as the whole global batch of a step."""
        places = torch.from_numpy(samples)
        there = places.to(self.canvas.device, non_blocking=True)
        return CanvasBatch(
            step=step,
            slot=torch.arange(len(samples)),
            sample=places,
            canvas=self.canvas[there],
            joints_cv=self.joints_cv[there],
            annotated=self.annotated[there],
            normalizer_cv=self.normalizer_cv[there],
        )

    def batches(self, schedule: Schedule, start: int, subset: np.ndarray) -> Iterator[CanvasBatch]:
        """Return the global batches of a run from a step on.

        Args:
            schedule: Of a run on as many images as there are.
            start: Step to begin with.
            subset: (n,) images there are in truth. The schedule's image i is number i modulo n of them, so an
                epoch has as many steps however many images there are, and goes over few of them more often.
        """
        for step in range(start, schedule.total_steps):
            yield self.batch(step, subset[schedule.samples(step) % len(subset)])

    def evaluated(self, size: int) -> Iterator[EvaluationBatch]:
        """Return all persons in order, so many at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield EvaluationBatch(self.canvas[part], self.image_from_canvas[part])


def subset_of(images: int, count: int) -> np.ndarray:
    """Return which images make up a smaller training set, in ascending order; larger ones contain smaller ones."""
    return np.sort(generator(0, Purpose.TRAINING_SUBSET, images).permutation(images)[:count])


def decode_split(shards: ShardSet, split: Split, folder: Path, threads: int) -> None:
    """Write a split's canvases and columns to ``folder`` as arrays, unless they are there.

    Args:
        shards: Prepared data.
        split: Which split; has a person.
        folder: Where to; made if need be.
        threads: How many decode.
    """
    canvases, columns = _files(folder, split)
    if columns.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    count, side = shards.count(split), shards.manifest.canvas.canvas_px
    whole = np.lib.format.open_memmap(canvases, mode="w+", dtype=np.uint8, shape=(count, side, side, 3))
    parts = []
    for start in range(0, count, _DECODED_AT_ONCE):
        persons = read_persons(shards, split, np.arange(start, min(start + _DECODED_AT_ONCE, count)), threads)
        whole[start : start + len(persons.index)] = persons.canvas
        parts.append(replace(persons, canvas=persons.canvas[:, :1, :1]))
    whole.flush()
    rows = [{**vars(part), **columns_of(part)} for part in parts]
    names = [name for name in rows[0] if name != "canvas"]
    # Last, and by a rename: with it the split is whole.
    beside = columns.with_suffix(".part.npz")
    whole_columns = {name: np.concatenate([np.asarray(row[name]) for row in rows]) for name in names}
    np.savez(beside, allow_pickle=False, **whole_columns)
    beside.rename(columns)


def hold_split(folder: Path, split: Split, device: torch.device) -> HeldSplit:
    """Load what `decode_split` wrote; on a CPU canvases stay in the file and are shared by all processes."""
    canvases, columns = _files(folder, split)
    held = dict(np.load(columns))
    canvas = torch.from_numpy(np.load(canvases, mmap_mode="c")).to(device)
    persons = PersonArrays(
        **{
            name: held[name].tolist() if name == "person_id" else held[name]
            for name in PersonArrays.__dataclass_fields__
            if name != "canvas"
        },
        canvas=np.empty((len(canvas), 0, 0, 3), np.uint8),
    )
    on_device = {name: torch.from_numpy(held[name]).to(device) for name in ("joints_cv", "annotated", "normalizer_cv")}
    return HeldSplit(
        canvas=canvas,
        **on_device,
        image_from_canvas=torch.from_numpy(held["image_from_canvas"]),
        truth=truth_of([persons]),
    )


def _files(folder: Path, split: Split) -> tuple[Path, Path]:
    return folder / f"{split}.npy", folder / f"{split}.npz"
