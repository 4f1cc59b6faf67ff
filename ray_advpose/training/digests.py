"""Hashes of networks and optimisers, to prove that one state is another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch


def digests(content: dict[str, Any]) -> dict[str, str]:
    """Return a SHA-256 for each network and optimiser of a state.

    Learning rates are not part of it: they are set by the config, whatever an optimiser was saved with.

    Args:
        content: As `ray_advpose.training.state.TrainState.state_dict` returns it, on any device.

    Returns:
        By name: ``pose``, ``asr``, ``aho``, and ``pose_optimizer`` etc.
    """
    networks = {name: _digest(_leaves(weights)) for name, weights in content["networks"].items()}
    optimizers = {
        f"{name}_optimizer": _digest(_leaves(optimizer["state"])) for name, optimizer in content["optimizers"].items()
    }
    return networks | optimizers


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{name}/{key}")
    else:
        yield name, value


def _digest(leaves: Iterator[tuple[str, Any]]) -> str:
    total = hashlib.sha256()
    for name, value in leaves:
        total.update(name.encode())
        if isinstance(value, torch.Tensor):
            # Memory layout is no part of a value.
            total.update(f"{value.dtype}{tuple(value.shape)}".encode())
            total.update(value.detach().cpu().contiguous().numpy().tobytes())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()
