"""Joint coordinates to heatmaps and back, under the two coordinate conventions that results name.

``paper`` rounds a joint to the pixel it falls on and refines the arg-max by a quarter pixel; its
quantisation is what published hourglasses are scored with. ``exact`` loses nothing on clean maps.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Decoder = Literal["paper", "exact"]

# Keeps the logarithm finite where a network predicts zero or less.
_LOG_FLOOR = 1e-10


def encode(joints_hm: Tensor, present: Tensor, side: int, sigma_px: float, decoder: Decoder) -> Tensor:
    """Return one Gaussian with peak 1 per joint.

    Args:
        joints_hm: (B, J, 2) x and y in heatmap pixels, first pixel's centre at 0.5.
        present: (B, J) bool; a joint that is not present gets a zero map, whatever its coordinates.
        side: Side of the square heatmaps.
        sigma_px: Standard deviation in heatmap pixels.
        decoder: ``paper`` centres the Gaussian on the pixel the joint falls on, ``exact`` on the joint.

    Returns:
        (B, J, side, side) float32, indexed by row (y), then column (x).
    """
    assert decoder in ("paper", "exact"), decoder
    peak_hm = joints_hm.float()
    if decoder == "paper":
        peak_hm = peak_hm.floor() + 0.5
    centre_hm = torch.arange(side, device=joints_hm.device) + 0.5
    distance = centre_hm - peak_hm[..., None]
    profile = torch.exp(distance.square() * (-0.5 / sigma_px**2))
    # Selected rather than multiplied, as absent joints may have NaN coordinates.
    profile = torch.where(present[..., None, None], profile, 0.0)
    return profile[:, :, 1, :, None] * profile[:, :, 0, None, :]


def decode(heatmaps: Tensor, decoder: Decoder) -> Tensor:
    """Return where each heatmap peaks.

    Args:
        heatmaps: (B, J, H, W), H and W at least 3.
        decoder: ``paper`` moves the arg-max a quarter pixel towards the higher neighbour on each
            axis, and not at all between equal neighbours or at the border; ``exact`` fits a parabola
            to the logarithm, which is exact for a Gaussian.

    Returns:
        (B, J, 2) float32 x and y in heatmap pixels, first pixel's centre at 0.5; NaN for a map that
        is not finite throughout, which scores as wrong.
    """
    assert decoder in ("paper", "exact"), decoder
    height, width = heatmaps.shape[2:]
    assert min(height, width) >= 3, heatmaps.shape
    maps = heatmaps.float()
    flat = maps.flatten(2)
    peak = flat.argmax(dim=2)
    x, y = peak % width, peak // width
    row = maps.gather(2, y[..., None, None].expand(-1, -1, 1, width)).squeeze(2)
    column = maps.gather(3, x[..., None, None].expand(-1, -1, height, 1)).squeeze(3)
    offset = _quarter_offset if decoder == "paper" else _log_parabola_offset
    joints_hm = torch.stack([x + offset(row, x), y + offset(column, y)], dim=2) + 0.5
    return torch.where(flat.isfinite().all(dim=2, keepdim=True), joints_hm, torch.nan)


def flip_average(heatmaps: Tensor, heatmaps_of_mirrored: Tensor, mirror: Tensor) -> Tensor:
    """Average the heatmaps of a picture with those of its mirror image (the flip test).

    Args:
        heatmaps: (B, J, H, W) of the picture.
        heatmaps_of_mirrored: (B, J, H, W) of the picture mirrored left to right.
        mirror: (J,) int64, `Skeleton.mirror` as a tensor on the same device.

    Returns:
        (B, J, H, W) in the picture's own coordinates and joint order.
    """
    return (heatmaps + heatmaps_of_mirrored.flip(3)[:, mirror]) / 2


def _at(line: Tensor, index: Tensor) -> Tensor:
    return line.gather(2, index[..., None]).squeeze(2)


def _quarter_offset(line: Tensor, peak: Tensor) -> Tensor:
    """Return (B, J) -0.25, 0 or 0.25 for the peak positions (B, J) on the lines (B, J, K)."""
    last = line.shape[2] - 1
    before, after = _at(line, (peak - 1).clamp(min=0)), _at(line, (peak + 1).clamp(max=last))
    interior = (peak > 0) & (peak < last)
    return torch.where(interior, 0.25 * torch.sign(after - before), 0.0)


def _log_parabola_offset(line: Tensor, peak: Tensor) -> Tensor:
    """Return (B, J) sub-pixel offsets within +-0.5 of the peak positions (B, J) on lines (B, J, K)."""
    # At the border the three pixels next to it are fitted, with the peak as an outer one.
    middle = peak.clamp(1, line.shape[2] - 2)
    before, centre, after = (_at(line, middle + step).clamp(min=_LOG_FLOOR).log() for step in (-1, 0, 1))
    bend = 2 * centre - before - after
    vertex = (after - before) / (2 * bend) + (middle - peak)
    return torch.where(bend > 0, vertex, 0.0).clamp(-0.5, 0.5)
