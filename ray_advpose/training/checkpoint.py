"""A checkpoint as a folder of files; the manifest, written last, makes it one.

A folder without a manifest, or with a file that does not match it, is what an interrupted copy
leaves behind, and is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ray_advpose
from ray_advpose.config import Config, is_structural, load_config
from ray_advpose.errors import UserError
from ray_advpose.training.state import TrainState

_SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_STATE = "state.pt"
_CONFIG = "config.yaml"


@dataclass(frozen=True)
class DataIdentity:
    """Which data a run was trained on.

    Attributes:
        fingerprint: Hash over all shards.
        protocol: How it is scored.
        skeleton: Name of its joint order.
        canvas_px: Side of its canvases.
        box_px: Side of the person box on them.
    """

    fingerprint: str
    protocol: str
    skeleton: str
    canvas_px: int
    box_px: int


def write_checkpoint(folder: Path, state: TrainState, data: DataIdentity) -> None:
    """Write a state's checkpoint into a new folder.

    Args:
        folder: Created; must not exist.
        state: What to save.
        data: What it was trained on.
    """
    folder.mkdir(parents=True)
    torch.save(state.state_dict(), folder / _STATE)
    (folder / _CONFIG).write_text(state.config.to_yaml(), encoding="utf-8")
    manifest = {
        "schema_version": _SCHEMA_VERSION,
        "step": state.step,
        "data": vars(data),
        "versions": {
            "ray_advpose": ray_advpose.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "files": {name: _description(folder / name) for name in (_STATE, _CONFIG)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest after checking every file against it.

    Raises:
        UserError: There is no manifest, or a file is missing, cut off or altered.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is not a whole checkpoint: cannot read {path.name}: {error}") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: expected a mapping, found {type(manifest).__name__}")
    if manifest.get("schema_version") != _SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version = {manifest.get('schema_version')!r}, this version reads {_SCHEMA_VERSION}"
        )
    for name, expected in manifest.get("files", {_STATE: None}).items():
        found = _description(folder / name) if (folder / name).is_file() else None
        if found != expected:
            raise UserError(
                f"{folder / name} does not match the checkpoint's manifest: expected {expected}, found {found}"
            )
    return manifest


def read_config(folder: Path) -> Config:
    """Return the config a checkpoint was trained with."""
    return load_config(folder / _CONFIG)


def data_identity(manifest: dict[str, Any]) -> DataIdentity:
    """Return what data a checkpoint was trained on."""
    return DataIdentity(**manifest["data"])


def load_checkpoint(folder: Path, state: TrainState, data: DataIdentity) -> None:
    """Load a checked checkpoint into a state of the same shape.

    Raises:
        UserError: The checkpoint is not whole, was trained on other data, or holds other networks.
    """
    check_data(folder, data)
    saved, wanted = read_config(folder).flat(), state.config.flat()
    shaping = [name for name in wanted if is_structural(name) or name.endswith(".enabled")]
    for name in shaping:
        if saved[name] != wanted[name]:
            raise UserError(f"{folder} holds networks with {name} = {saved[name]}, this run's have {wanted[name]}")
    state.load_state_dict(read_state(folder, state))


def load_networks(folder: Path, state: TrainState) -> None:
    """Load only the networks of a checked checkpoint, for evaluation on whatever data."""
    saved = read_state(folder, state)
    for name, net in state.networks.items():
        net.load_state_dict(saved["networks"][name])


def check_data(folder: Path, data: DataIdentity) -> None:
    """Check that a checkpoint is whole and was trained on the given data; `UserError` if not."""
    saved_on = data_identity(read_manifest(folder))
    if saved_on != data:
        raise UserError(f"{folder} was trained on {saved_on}, this run's data is {data}")


def read_state(folder: Path, state: TrainState) -> dict[str, Any]:
    """Return what a checked checkpoint holds, as `TrainState.state_dict` made it, on the state's device."""
    device = next(state.pose_net.parameters()).device
    content: dict[str, Any] = torch.load(folder / _STATE, map_location=device, weights_only=True)
    return content


def _description(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
