"""The record that travels from the stream to a training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

COMPUTED_ON = ("canvas", "joints_cv", "annotated", "normalizer_cv")
"""Fields that steps compute on; the others only say where in the run a batch belongs."""


@dataclass(frozen=True)
class CanvasBatch:
    """One worker's share of a global batch, before any augmentation.

    Attributes:
        step: Global step the batch belongs to.
        slot: (B,) int64 places in the global batch, ascending.
        sample: (B,) int64 indices in the training split.
        canvas: (B, H, W, 3) uint8 RGB person canvases.
        joints_cv: (B, J, 2) float32 joints in canvas pixels.
        annotated: (B, J) bool.
        normalizer_cv: (B,) float32 length that PCK divides errors by, in canvas pixels; NaN where unknown.
    """

    step: int
    slot: Tensor
    sample: Tensor
    canvas: Tensor
    joints_cv: Tensor
    annotated: Tensor
    normalizer_cv: Tensor

    @staticmethod
    def from_rows(step: int, rows: Mapping[str, np.ndarray]) -> CanvasBatch:
        """Copy a step's columns, named like the fields, into tensors."""
        columns = {field.name: torch.tensor(rows[field.name]) for field in fields(CanvasBatch) if field.name != "step"}
        return CanvasBatch(step=step, **columns)

    def __len__(self) -> int:
        return len(self.slot)

    def part(self, which: slice | Tensor) -> CanvasBatch:
        """Return some of the images; ``which`` is a slice, or places in a tensor on the CPU."""
        tensors = {field.name: getattr(self, field.name)[which] for field in fields(self) if field.name != "step"}
        return replace(self, **tensors)

    def to(self, device: torch.device) -> CanvasBatch:
        """Return the batch with all that is computed on moved to a device.

        Slots and samples stay where they are: looked up on the CPU, they would make it wait for the device.
        """
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in COMPUTED_ON})


@dataclass(frozen=True)
class CanvasGeometry:
    """How large canvases are and what part of them is the person.

    Attributes:
        canvas_px: Side of the square canvas.
        box_px: Side of the person box on it, centred.
    """

    canvas_px: int
    box_px: int
