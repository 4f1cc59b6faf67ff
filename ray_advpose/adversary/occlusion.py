"""Occlusion cells of AHO (Section 4.2): votes, draws and hierarchical masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ray_advpose.adversary.bins import sample_index


def vote_cells(joints_in: Tensor, counted: Tensor, input_px: int, grid: tuple[int, int]) -> Tensor:
    """Count the joints that fall into each cell ("we vote a joint to one of the w x h cells").

    Args:
        joints_in: (B, J, 2) joints in the network input of the canonical crop.
        counted: (B, J) bool, joints that are annotated and inside the input.
        input_px: Side of the input.
        grid: (h, w).

    Returns:
        (h * w,) float64 votes, row by row.
    """
    height, width = grid
    column = (joints_in[..., 0] * width / input_px).floor().long().clamp(0, width - 1)
    row = (joints_in[..., 1] * height / input_px).floor().long().clamp(0, height - 1)
    cell = (row * width + column)[counted]
    return torch.bincount(cell, minlength=height * width).double()


def draw_cells(log_probability: Tensor, count: Tensor, uniform: Tensor) -> Tensor:
    """Draw cells without replacement.

    Args:
        log_probability: (B, K) log-probabilities over cells.
        count: (B,) int64, how many cells to draw for each image (1..R).
        uniform: (B, R) draws from [0, 1).

    Returns:
        (B, K) bool, True where a cell is drawn.
    """
    drawn = torch.zeros_like(log_probability, dtype=torch.bool)
    for turn in range(uniform.shape[1]):
        remaining = log_probability.masked_fill(drawn, float("-inf"))
        # Should all the mass lie on drawn cells, the others are equally likely.
        empty = remaining.exp().sum(dim=1, keepdim=True) <= 0
        remaining = torch.where(empty & ~drawn, torch.zeros_like(remaining), remaining)
        index = sample_index(remaining, uniform[:, turn])
        drawn |= F.one_hot(index, log_probability.shape[1]).bool() & (count > turn)[:, None]
    return drawn


def draw_reference_cells(drawn: Tensor, count: Tensor, uniform: Tensor) -> Tensor:
    """Draw as many cells uniformly, redrawn when equal to the adversarial set.

    Args:
        drawn: (B, K) bool, the cells the augmentation network drew.
        count: (B,) int64, how many cells each image has.
        uniform: (B, T, R) draws from [0, 1) for T attempts; the first attempt that differs counts.

    Returns:
        (B, K) bool.
    """
    even = torch.zeros(drawn.shape, dtype=uniform.dtype, device=drawn.device) - torch.log(
        torch.tensor(float(drawn.shape[1]))
    )
    reference = draw_cells(even, count, uniform[:, 0])
    for attempt in range(1, uniform.shape[1]):
        same = (reference == drawn).all(dim=1)
        if not bool(same.any()):
            return reference
        reference = torch.where(same[:, None], draw_cells(even, count, uniform[:, attempt]), reference)
    return reference


def hierarchical_masks(drawn: Tensor, grid: tuple[int, int], sides: Sequence[int]) -> tuple[Tensor, ...]:
    """Scale one mask up to every resolution ("a single mask scales up", the first of Figure 4's designs).

    A position's factor is the share of its area that is not occluded. Where the grid divides the map,
    as the paper's 4 x 4 does everywhere, that is nearest-neighbour scaling: 0 in occluded cells, 1 elsewhere.
    A map that the grid does not divide, or that is coarser than it, gets fractions in between.

    Args:
        drawn: (B, h * w) bool, True where a cell is occluded.
        grid: (h, w).
        sides: Sides of the bridge features the masks are multiplied onto; each divides the largest.

    Returns:
        For each side a (B, 1, side, side) float32 mask.
    """
    finest = max(sides)
    mask = F.interpolate((~drawn).float().view(-1, 1, *grid), size=(finest, finest), mode="nearest")
    return tuple(F.avg_pool2d(mask, finest // side) for side in sides)
