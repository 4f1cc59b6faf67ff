"""How large a run's checkpoints will be."""

from __future__ import annotations

import io

import torch

from ray_advpose.config import Config
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import make_state


def checkpoint_bytes(config: Config, joints: int) -> int:
    """Return the bytes of a checkpoint, optimisers' moments included; the networks are built for it.

    Args:
        config: The run's config.
        joints: J, number of joints.
    """
    state = make_state(config, joints, torch.device("cpu"))
    for name, optimizer in state.optimizers.items():
        for parameter in state.networks[name].parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    content = io.BytesIO()
    torch.save(take_snapshot(state).content, content)
    return content.tell()
