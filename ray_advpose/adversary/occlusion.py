"""Occlusion cells of AHO (Section 4.2): votes, draws and hierarchical masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ray_advpose.adversary.bins import equally_likely, one_hot, sample_index

Hierarchy = Literal["up", "down", "independent"]


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
        drawn |= one_hot(index, log_probability.shape[1]) & (count > turn)[:, None]
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
    images, attempts, _ = uniform.shape
    # All attempts at once: to ask whether another one is needed would make the CPU wait for the device.
    even = equally_likely(images * attempts, drawn.shape[1], drawn.device)
    tried = draw_cells(even, count.repeat_interleave(attempts), uniform.flatten(0, 1)).view(images, attempts, -1)
    same = (tried == drawn[:, None]).all(dim=2)
    # Were all of them equal to it, the last one counts.
    first = (same.long().cumprod(dim=1).sum(dim=1)).clamp(max=attempts - 1)
    return tried.gather(1, first[:, None, None].expand(-1, 1, tried.shape[2]))[:, 0]


def hierarchical_masks(
    drawn: Tensor, grid: tuple[int, int], sides: Sequence[int], hierarchy: Hierarchy, shift: Tensor
) -> tuple[Tensor, ...]:
    """Turn drawn cells into a mask for every bridge feature, by one of the three designs of Figure 4.

    ``up``, the paper's: one mask, made on the grid, is scaled up to every resolution. A position's
    factor is the share of its area that is not occluded. Where the grid divides the map, as the
    paper's 4 x 4 does everywhere, that is nearest-neighbour scaling: 0 in occluded cells, 1 elsewhere.
    A map that the grid does not divide, or that is coarser than it, gets fractions in between.

    ``down``: one mask, made on the finest map, is scaled down. A drawn cell lies there wherever
    ``shift`` puts it, and a coarser position is occluded as soon as any part of it is: it "would
    occlude more than needed".

    ``independent``: every resolution has drawn cells of its own, each scaled as by ``up``.

    Args:
        drawn: (L, B, h * w) bool, True where a cell is occluded; L is 1, and for ``independent`` the
            number of sides.
        grid: (h, w).
        sides: Sides of the bridge features, finest first; each divides the first.
        hierarchy: The design.
        shift: (B, 2) x and y in cells, how far the grid is moved over the finest map by ``down``.

    Returns:
        For each side a (B, 1, side, side) float32 mask.
    """
    finest = sides[0]
    assert len(drawn) == (len(sides) if hierarchy == "independent" else 1), drawn.shape
    if hierarchy == "down":
        occluded = _occluded(drawn[0], grid, finest, shift)
        return tuple(1 - F.max_pool2d(occluded, finest // side) for side in sides)
    levels = drawn if hierarchy == "independent" else drawn.expand(len(sides), -1, -1)
    still = torch.zeros_like(shift)
    return tuple(
        F.avg_pool2d(1 - _occluded(level, grid, finest, still), finest // side)
        for level, side in zip(levels, sides, strict=True)
    )


def _occluded(drawn: Tensor, grid: tuple[int, int], side: int, shift: Tensor) -> Tensor:
    """Lay (B, h * w) drawn cells over a map: (B, 1, side, side) float32, 1 where occluded.

    A position belongs to the cell its upper left corner lies in (nearest neighbour); to none where
    the grid was shifted off the map.
    """
    height, width = grid
    place = torch.arange(side, device=drawn.device, dtype=torch.float32) / side
    column = (place * width - shift[:, :1]).floor().long()
    row = (place * height - shift[:, 1:]).floor().long()
    cell = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None, :]
    on_grid = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
    return (drawn.gather(1, cell.flatten(1)).view_as(cell) & on_grid).float()[:, None]
