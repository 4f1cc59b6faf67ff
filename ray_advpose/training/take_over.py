"""Going on from the checkpoint of another run: its stage 1, or all of it with other bins or another grid.

Other bins change only the last layer. A head of K bins is a linear map to K logits; the logits at K'
other places of the same range are linear interpolations of them, so the new head is the old one
times a (K', K) matrix, and so are its optimiser's moments. The occlusion head is one channel wide
whatever the grid is, and only the number of resolutions that its network reads changes with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ray_advpose.config import Config, is_structural
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import DataIdentity, check_data, read_config
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.pose_stage import decides_pose_stage, ends_pose_stage
from ray_advpose.training.restoring import read_state
from ray_advpose.training.state import TrainState, load_optimizer

_HEADS = {"asr.scale_bins": "scale", "asr.rotation_bins": "rotation"}
_MAPPED = (*_HEADS, "aho.grid_width", "aho.grid_height")


def load_member(folder: Path, state: TrainState, data: DataIdentity, allow: Collection[str] = ()) -> list[str]:
    """Load a checked checkpoint of any member of a population.

    Args:
        folder: The checkpoint.
        state: Overwritten. Its settings stay: learning rates are set by them at every epoch's start.
        data: What the state is trained on.
        allow: With ``data`` in it, it may have been trained on other images of the same form.

    Returns:
        Fields in which heads were mapped.

    Raises:
        UserError: The checkpoint is not whole, was trained on other data, or holds other networks.
    """
    check_data(folder, data, allow)
    saved = read_config(folder)
    before, wanted = saved.flat(), state.config.flat()
    for name in wanted:
        shaping = (is_structural(name) and name not in _MAPPED) or name.endswith(".enabled")
        if shaping and before[name] != wanted[name]:
            raise UserError(f"{folder} holds networks with {name} = {before[name]}, this trial's have {wanted[name]}")
    content = read_state(folder, state)
    mapped = [name for name in _MAPPED if before[name] != wanted[name]]
    if "asr" in content["networks"]:
        _map_asr(content, saved, state.config)
    if "aho" in content["networks"] and any(name.startswith("aho.") for name in mapped):
        _fit_aho(content, state)
    state.load_state_dict(content)
    if allow or any(before[name] != wanted[name] for name in wanted if name.startswith(("asr.", "aho."))):
        # Measured at other bins or cells, or on what may have been other images.
        state.sweep_targets.clear()
    return mapped


def load_pose_stage(folder: Path, state: TrainState, data: DataIdentity, allow: Collection[str] = ()) -> None:
    """Put a fresh state at the end of another run's stage 1.

    Args:
        folder: A checkpoint from the end of stage 1.
        state: Fresh; its augmentation networks stay as they are.
        data: What this run is trained on.
        allow: Fields that may differ from what that stage 1 was trained with.

    Raises:
        UserError: The checkpoint is not whole, lies elsewhere than at the end of stage 1, was trained
            on other data, or differs in a field that decides stage 1.
    """
    check_data(folder, data)
    saved, wanted = read_config(folder).flat(), state.config.flat()
    for name in filter(decides_pose_stage, wanted):
        if saved[name] != wanted[name] and name not in allow:
            raise UserError(f"{folder} holds a stage 1 with {name} = {saved[name]}, this run's has {wanted[name]}")
    content = read_state(folder, state)
    history = [EpochRecord.from_dict(record) for record in content["history"]]
    if not history or not ends_pose_stage(history[-1], state.config):
        raise UserError(f"{folder} lies at step {content['step']}, which is not the end of stage 1")
    state.pose_net.load_state_dict(content["networks"]["pose"])
    load_optimizer(state.optimizers["pose"], content["optimizers"]["pose"])
    state.step = content["step"]
    state.history = history


def bin_mapping(old: int, new: int) -> Tensor:
    """Return the (new, old) float32 matrix that interpolates values at evenly spaced places.

    Rows are not negative and sum to 1, so a uniform prediction stays uniform; equal numbers give the
    identity.
    """
    assert min(old, new) >= 2
    places = torch.linspace(0, old - 1, new, dtype=torch.float64)
    left = places.floor().clamp(max=old - 2).long()
    share = places - left
    matrix = torch.zeros(new, old, dtype=torch.float64)
    rows = torch.arange(new)
    matrix[rows, left] = 1 - share
    matrix[rows, left + 1] += share
    return matrix.float()


def _map_asr(content: dict[str, Any], saved: Config, wanted: Config) -> None:
    names = [name for name in content["networks"]["asr"] if not _is_buffer(name)]
    moments = content["optimizers"]["asr"]["state"]
    for field, head in _HEADS.items():
        old, new = getattr(saved.asr, head + "_bins"), getattr(wanted.asr, head + "_bins")
        if old == new:
            continue
        for parameter in (f"{head}.weight", f"{head}.bias"):
            values = content["networks"]["asr"][parameter]
            assert len(values) == old, field
            matrix = bin_mapping(old, new).to(values)
            content["networks"]["asr"][parameter] = matrix @ values
            for name, moment in moments.get(names.index(parameter), {}).items():
                if moment.shape == values.shape:
                    # Interpolating squares keeps them from being negative.
                    moments[names.index(parameter)][name] = matrix.to(moment) @ moment


def _fit_aho(content: dict[str, Any], state: TrainState) -> None:
    """Give the occlusion network the resolutions it reads now: those it read before, others as they begin."""
    assert state.aho_net is not None
    held: Mapping[str, Tensor] = content["networks"]["aho"]
    fresh = state.aho_net.state_dict()
    content["networks"]["aho"] = {name: held.get(name, value) for name, value in fresh.items()}
    old_names = [name for name in held if not _is_buffer(name)]
    moments = content["optimizers"]["aho"]["state"]
    names = [name for name, _ in state.aho_net.named_parameters()]
    content["optimizers"]["aho"]["state"] = {
        place: moments[old_names.index(name)]
        for place, name in enumerate(names)
        if name in held and old_names.index(name) in moments
    }
    groups = state.optimizers["aho"].state_dict()["param_groups"]
    content["optimizers"]["aho"]["param_groups"] = groups


def _is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
