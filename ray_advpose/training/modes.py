"""How networks compute: BatchNorm in passes that D does not learn from, and whether results repeat themselves.

Compared passes use batch statistics like the pass D learns from, so that the comparison is fair,
but only learning passes may move the running statistics that evaluation uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def be_deterministic(wanted: bool) -> None:
    """Refuse operations whose results vary, or allow them again; of this process."""
    if wanted:
        # What CUDA's matrix products need to repeat themselves; read when they are first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Normalise by batch statistics without moving the running ones."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Normalise by the running statistics."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
