"""How many workers share a global batch, and what each may call a mean over it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def worker_count() -> int:
    """Return the number of workers that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def part_of_mean(losses: Tensor, images: int) -> Tensor:
    """Return this worker's term of the mean over images that all workers hold parts of.

    Averaged over the workers, as `DistributedDataParallel` averages gradients, the terms are the mean
    over all the images. Each worker's own mean would not do: parts may differ by one image, and the
    images of the smaller part would count for more.

    Args:
        losses: (n,) losses of this worker's images.
        images: How many images all workers have together.

    Returns:
        0-dim tensor; with one worker the plain mean.
    """
    return losses.sum() * worker_count() / images


def share_of_all(chosen: Tensor, among: Tensor) -> Tensor:
    """Return which share of some images was chosen, over all workers; called on every worker.

    Args:
        chosen: (n,) bool, of this worker's images.
        among: (n,) bool, those that count.

    Returns:
        0-dim tensor of no gradient; 0 where no image counts.
    """
    counts = torch.stack([(chosen & among).sum(), among.sum()])
    if worker_count() > 1:
        dist.all_reduce(counts)
    return counts[0] / counts[1].clamp_min(1)
