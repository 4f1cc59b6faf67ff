"""Scale and rotation bins of ASR (Section 4.1): each bin is a small bounded Gaussian.

Scale lives in log2 (0 keeps the crop, 1 doubles its side and so halves the person); rotation in degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_advpose.sections import AsrConfig


@dataclass(frozen=True)
class Bins:
    """K bins over a symmetric range.

    Attributes:
        centers: (K,) float32, evenly spaced from minus to plus the range.
        sigma: Standard deviation of each bin's Gaussian, which is cut off at one sigma.
    """

    centers: Tensor
    sigma: float

    def draw(self, index: Tensor, normal: Tensor) -> Tensor:
        """Turn bin indices and standard normal draws into values.

        Args:
            index: (B,) int64 bins, where the centres are.
            normal: (B,) float32 standard normal draws; what falls outside one sigma is clamped to it.

        Returns:
            (B,) float32 values, log2 scale or degrees.
        """
        return self.centers[index] + self.sigma * normal.clamp(-1, 1)


def scale_bins(config: AsrConfig, device: torch.device | None = None) -> Bins:
    """Return the M scale bins, centres in log2."""
    limit = config.max_scale_log2
    return Bins(torch.linspace(-limit, limit, config.scale_bins, device=device), config.scale_sigma_log2)


def rotation_bins(config: AsrConfig, device: torch.device | None = None) -> Bins:
    """Return the N rotation bins, centres in degrees."""
    limit = config.max_rotation_deg
    return Bins(torch.linspace(-limit, limit, config.rotation_bins, device=device), config.rotation_sigma_deg)


def equally_likely(images: int, outcomes: int, device: torch.device) -> Tensor:
    """Return the (B, K) log-probabilities of K bins, or cells, none of which is preferred."""
    return torch.full((images, outcomes), -math.log(outcomes), device=device)


def one_hot(index: Tensor, outcomes: int) -> Tensor:
    """Return (B, K) bool, True at the indices (B,); unlike torch's it checks nothing, and so waits for no device."""
    return torch.arange(outcomes, device=index.device) == index[:, None]


def sample_index(log_probability: Tensor, uniform: Tensor) -> Tensor:
    """Draw one index a row by inverting the cumulative distribution.

    Args:
        log_probability: (B, K) log-probabilities; rows sum to 1 after ``exp``.
        uniform: (B,) draws from [0, 1).

    Returns:
        (B,) int64 indices in 0..K-1.
    """
    cumulative = log_probability.exp().cumsum(dim=1)
    # Rounding can leave the last sum a little under 1, so a draw close to 1 is kept in the last bin.
    below = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(dim=1)
    return below.clamp(max=log_probability.shape[1] - 1)


def sweep_targets(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the losses of the m x n sweep into the ground truth of ASR pre-training.

    Every loss is added to its scale bin and to its rotation bin, and each vector is normalised to
    sum to 1, image by image (Section 4.1, "ASR pre-training").

    Args:
        losses: (B, M, N) non-negative losses of D.

    Returns:
        P^s (B, M) and P^r (B, N). An image without any loss (no joint inside) gets uniform ones.
    """

    def normalised(total: Tensor) -> Tensor:
        whole = total.sum(dim=1, keepdim=True)
        uniform = torch.full_like(total, 1.0 / total.shape[1])
        return torch.where(whole > 0, total / whole.clamp_min(torch.finfo(total.dtype).tiny), uniform)

    return normalised(losses.sum(dim=2)), normalised(losses.sum(dim=1))
