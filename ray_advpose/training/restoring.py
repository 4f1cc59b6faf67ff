"""Between a training state and its checkpoint: what is copied out of the one, and loaded from the other."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from ray_advpose.config import is_structural
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import STATE, DataIdentity, Snapshot, check_data, read_config
from ray_advpose.training.state import TrainState


def take_snapshot(state: TrainState) -> Snapshot:
    """Copy a state, so that it can be written while training goes on; within an epoch called on every worker."""
    best_first = sorted(state.history, key=lambda record: -record.metric)
    last = state.history[-1] if state.history else None
    return Snapshot(
        step=state.step,
        config=state.config,
        content=_copied(state.state_dict()),
        epoch_ends=tuple(record.step for record in best_first),
        score=last.metric if last is not None and last.step == state.step else None,
    )


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    return value


def load_checkpoint(folder: Path, state: TrainState, data: DataIdentity, allow: Collection[str] = ()) -> None:
    """Load a checked checkpoint into a state of the same shape.

    Args:
        folder: The checkpoint.
        state: Overwritten.
        data: What the state is to be trained on.
        allow: Fields that differ from what it was trained with; with ``data`` in it, training may go on
            with other images of the same form.

    Raises:
        UserError: The checkpoint is not whole, was trained on other data, or holds other networks.
    """
    check_data(folder, data, allow)
    saved, wanted = read_config(folder).flat(), state.config.flat()
    shaping = [name for name in wanted if is_structural(name) or name.endswith(".enabled")]
    for name in shaping:
        if saved[name] != wanted[name]:
            raise UserError(f"{folder} holds networks with {name} = {saved[name]}, this run's have {wanted[name]}")
    state.load_state_dict(read_state(folder, state))
    if allow:
        # Measured on what may have been other images, or with other settings; it is measured again.
        state.sweep_targets.clear()


def load_networks(folder: Path, state: TrainState) -> None:
    """Load only the networks of a checked checkpoint, for evaluation on whatever data."""
    saved = read_state(folder, state)
    for name, net in state.networks.items():
        net.load_state_dict(saved["networks"][name])


def read_state(folder: Path, state: TrainState) -> dict[str, Any]:
    """Return what a checked checkpoint holds, as `TrainState.state_dict` made it, on the state's device."""
    content: dict[str, Any] = torch.load(folder / STATE, map_location=state.device, weights_only=True)
    return content
