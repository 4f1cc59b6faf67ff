"""Every random decision of a step, drawn for the whole global batch and then shared out by slot.

What an image gets does not depend on how many workers there are, nor on which of them it is on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ray_advpose.config import Config
from ray_advpose.counter import Purpose, generator
from ray_advpose.sections import RandomConfig

_REFERENCE_ATTEMPTS = 8


@dataclass(frozen=True)
class Augmentation:
    """What is done to each image on its way from the canvas to the network.

    Attributes:
        scale: (B,) factors; above 1 the crop is larger and the person smaller.
        rotation_deg: (B,) degrees.
        flip: (B,) bool, mirrored.
        color: (B, 3) factors of the RGB channels.
    """

    scale: Tensor
    rotation_deg: Tensor
    flip: Tensor
    color: Tensor

    def part(self, which: slice | Tensor) -> Augmentation:
        """Return the draws of some of the images."""
        return Augmentation(*(getattr(self, field.name)[which] for field in fields(self)))

    def to(self, device: torch.device) -> Augmentation:
        """Return the draws on a device."""
        return Augmentation(*(getattr(self, field.name).to(device) for field in fields(self)))

    def rescaled(self, scale: Tensor, rotation_deg: Tensor) -> Augmentation:
        """Return the same flip and colour with another scale and rotation."""
        return replace(self, scale=scale, rotation_deg=rotation_deg)


@dataclass(frozen=True)
class AdversarialDraws:
    """The numbers that turn predicted distributions into augmentations.

    Attributes:
        bin_uniform: (B, 2) in [0, 1), which scale and which rotation bin.
        bin_normal: (B, 2) standard normal, where in the bin's Gaussian.
        cells: (B,) int64, how many cells are occluded.
        cell_uniform: (B, L, R) in [0, 1), which cells, for each of L masks.
        reference_uniform: (B, L, T, R) in [0, 1), the cells of the reference, T attempts.
        cell_shift: (B, 2) in [-0.5, 0.5), how far a mask made on the finest map is off the grid, in cells.
    """

    bin_uniform: Tensor
    bin_normal: Tensor
    cells: Tensor
    cell_uniform: Tensor
    reference_uniform: Tensor
    cell_shift: Tensor

    def part(self, which: slice | Tensor) -> AdversarialDraws:
        """Return the draws of some of the images."""
        return AdversarialDraws(*(getattr(self, field.name)[which] for field in fields(self)))

    def to(self, device: torch.device) -> AdversarialDraws:
        """Return the draws on a device."""
        return AdversarialDraws(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class StepDraws:
    """All that is random in a step, for a worker's part of the global batch.

    Attributes:
        random: tau_r of every image.
        adversarial: What sampling needs; None in stage 1.
    """

    random: Augmentation
    adversarial: AdversarialDraws | None = None

    def to(self, device: torch.device) -> StepDraws:
        """Return the draws on a device."""
        return StepDraws(self.random.to(device), None if self.adversarial is None else self.adversarial.to(device))


def canonical(count: int, device: torch.device) -> Augmentation:
    """Return the augmentation that changes nothing: the crop of evaluation and of bridge features."""
    return Augmentation(
        scale=torch.ones(count, device=device),
        rotation_deg=torch.zeros(count, device=device),
        flip=torch.zeros(count, dtype=torch.bool, device=device),
        color=torch.ones(count, 3, device=device),
    )


def random_augmentation(config: Config, step: int) -> Augmentation:
    """Draw tau_r from the random augmentation space for every slot of a global batch.

    ``release`` is scale 2^clip(N(0, 0.25), +-0.5) and rotation clip(N(0, 30), +-60) degrees with none
    for 60 % of the images; ``paper`` is Section 5.1's uniform 0.75..1.25 and +-30 degrees. Factors of
    the config stretch log2 scale and rotation, and say how many images the release rotates.
    """
    rng = generator(config.run.seed, Purpose.RANDOM_AUGMENTATION, step)
    count = config.run.global_batch_size
    scale, rotation = _random_scale_rotation(rng, count, config.random)
    flip = rng.random(count) < config.random.flip_probability
    spread = config.random.color_range
    color = rng.uniform(1 - spread, 1 + spread, (count, 3))
    return Augmentation(_float(scale), _float(rotation), torch.from_numpy(flip), _float(color))


def _random_scale_rotation(rng: np.random.Generator, count: int, config: RandomConfig) -> tuple[np.ndarray, np.ndarray]:
    if config.random_range == "paper":
        scale, rotation = rng.uniform(0.75, 1.25, count), rng.uniform(-30, 30, count)
    else:
        scale = 2 ** np.clip(rng.normal(0, 0.25, count), -0.5, 0.5)
        rotation = np.clip(rng.normal(0, 30, count), -60, 60)
        rotation = np.where(rng.random(count) < 1 - config.rotated_share, 0.0, rotation)
    # To the power of 1 a scale may come out another last bit than it went in.
    scale = scale if config.scale_times == 1 else scale**config.scale_times
    return scale, rotation * config.rotation_times


def adversarial_draws(config: Config, step: int, masks: int) -> AdversarialDraws:
    """Draw what sampling from P^s, P^r and P^o needs, for every slot of a global batch.

    Args:
        config: The run's config.
        step: Global step.
        masks: L, occlusion masks drawn for an image.
    """
    rng = generator(config.run.seed, Purpose.ADVERSARIAL_DRAW, step)
    count, most = config.run.global_batch_size, config.aho.max_cells
    return AdversarialDraws(
        bin_uniform=_uniform(rng, count, 2),
        bin_normal=_float(rng.standard_normal((count, 2))),
        cells=torch.from_numpy(rng.integers(1, most + 1, count)),
        cell_uniform=_uniform(rng, count, masks, most),
        reference_uniform=_uniform(rng, count, masks, _REFERENCE_ATTEMPTS, most),
        cell_shift=_uniform(rng, count, 2) - 0.5,
    )


def sweep_normals(config: Config, sample: int) -> Tensor:
    """Return (M, N, 2) standard normal draws of an image's pre-training sweep."""
    rng = generator(config.run.seed, Purpose.SWEEP, sample)
    return _float(rng.standard_normal((config.asr.scale_bins, config.asr.rotation_bins, 2)))


def _uniform(rng: np.random.Generator, *shape: int) -> Tensor:
    # Drawn as float32: a float64 draw next to 1 would be rounded to 1, which is out of [0, 1).
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
