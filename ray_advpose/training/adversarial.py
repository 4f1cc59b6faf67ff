"""From what the augmentation networks predict to what is done to an image (Algorithm 2, line 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ray_advpose.adversary.bins import rotation_bins, sample_index, scale_bins
from ray_advpose.adversary.occlusion import draw_cells, draw_reference_cells, hierarchical_masks
from ray_advpose.sections import AhoConfig, AsrConfig
from ray_advpose.training.draws import AdversarialDraws, Augmentation


class AsrDraw(NamedTuple):
    """Scaling and rotating drawn from P^s and P^r.

    Attributes:
        augmentation: tau_a.
        scale_index: (B,) int64 bins.
        rotation_index: (B,) int64 bins.
    """

    augmentation: Augmentation
    scale_index: Tensor
    rotation_index: Tensor


def draw_asr(
    log_scale: Tensor, log_rotation: Tensor, reference: Augmentation, draws: AdversarialDraws, config: AsrConfig
) -> AsrDraw:
    """Draw a scale and a rotation for each image; flip and colour are the reference's.

    Args:
        log_scale: (B, M) log-probabilities.
        log_rotation: (B, N) log-probabilities.
        reference: tau_r of the same images.
        draws: The numbers to draw with.
        config: The bins.
    """
    scale_index = sample_index(log_scale, draws.bin_uniform[:, 0])
    rotation_index = sample_index(log_rotation, draws.bin_uniform[:, 1])
    device = log_scale.device
    augmentation = reference.rescaled(
        2 ** scale_bins(config, device).draw(scale_index, draws.bin_normal[:, 0]),
        rotation_bins(config, device).draw(rotation_index, draws.bin_normal[:, 1]),
    )
    return AsrDraw(augmentation, scale_index, rotation_index)


class OcclusionDraw(NamedTuple):
    """Occlusion drawn from P^o.

    Attributes:
        cells: (L, B, h * w) bool, what each of L masks occludes.
        masks: A (B, 1, side, side) factor for each bridge feature.
    """

    cells: Tensor
    masks: tuple[Tensor, ...]


def draw_occlusion(
    log_cells: Tensor, draws: AdversarialDraws, config: AhoConfig, sides: Sequence[int]
) -> OcclusionDraw:
    """Draw cells and lay them over the bridge features.

    Args:
        log_cells: (B, h * w) log-probabilities.
        draws: The numbers to draw with.
        config: Grid and hierarchy.
        sides: Of the bridge features, finest first.
    """
    cells = torch.stack([draw_cells(log_cells, draws.cells, uniform) for uniform in draws.cell_uniform.unbind(1)])
    return OcclusionDraw(cells, _masks(cells, draws, config, sides))


def draw_reference_occlusion(
    drawn: OcclusionDraw, draws: AdversarialDraws, config: AhoConfig, sides: Sequence[int]
) -> tuple[Tensor, ...] | None:
    """Return the masks of the reference: as many cells at random, or None, nothing occluded, by ``aho.reference``."""
    if config.reference != "random_cells":
        return None
    cells = torch.stack(
        [
            draw_reference_cells(level, draws.cells, uniform)
            for level, uniform in zip(drawn.cells, draws.reference_uniform.unbind(1), strict=True)
        ]
    )
    return _masks(cells, draws, config, sides)


def _masks(cells: Tensor, draws: AdversarialDraws, config: AhoConfig, sides: Sequence[int]) -> tuple[Tensor, ...]:
    grid = (config.grid_height, config.grid_width)
    return hierarchical_masks(cells, grid, sides, config.hierarchy, draws.cell_shift)
