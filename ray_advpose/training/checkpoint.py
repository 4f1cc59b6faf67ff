"""A checkpoint as a folder of files; the manifest, written last, makes it one.

A folder without a manifest, or with a file that does not match it, is what an interrupted copy
leaves behind, and is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ray_advpose
from ray_advpose.config import Config, is_structural, load_config
from ray_advpose.errors import UserError
from ray_advpose.training.state import TrainState

_SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
_STATE = "state.pt"
_CONFIG = "config.yaml"


class OtherVersionError(UserError):
    """A checkpoint was written by a version of this package whose checkpoints this one cannot read."""


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


@dataclass(frozen=True)
class Snapshot:
    """A state as it was at one step, apart from the networks that train on.

    Attributes:
        step: Global steps done.
        config: The run's config.
        content: What `TrainState.state_dict` returned, copied to the CPU.
        epoch_ends: Steps at which epochs ended, the one with the best score first.
        score: Validation score in percent, if an epoch ends at this step.
    """

    step: int
    config: Config
    content: dict[str, Any]
    epoch_ends: tuple[int, ...]
    score: float | None = None


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


def write_checkpoint(folder: Path, snapshot: Snapshot, data: DataIdentity) -> None:
    """Write a checkpoint into a new folder; it has reached the disk when this returns.

    Args:
        folder: Created; must not exist.
        snapshot: What to save.
        data: What it was trained on.
    """
    folder.mkdir(parents=True)
    _save(snapshot.content, folder / _STATE)
    (folder / _CONFIG).write_text(snapshot.config.to_yaml(), encoding="utf-8")
    for name in (_STATE, _CONFIG):
        flush(folder / name)
    manifest = {
        "schema_version": _SCHEMA_VERSION,
        "step": snapshot.step,
        "score": snapshot.score,
        "data": vars(data),
        "lineage": snapshot.content["lineage"],
        "versions": {
            "ray_advpose": ray_advpose.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "files": {name: _description(folder / name) for name in (_STATE, _CONFIG)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    flush(folder / MANIFEST)
    flush(folder)


def _save(content: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        # torch closes its archive although a write has failed, and then complains of that instead.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        raise (cause or error) from None


def flush(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk: a renamed file may else come out empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest after checking every file against it.

    Raises:
        OtherVersionError: Another version has written it.
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
        written_by = manifest.get("versions", {}).get("ray_advpose", "unknown")
        raise OtherVersionError(
            f"{path}: schema_version = {manifest.get('schema_version')!r}, written by ray_advpose {written_by};"
            f" this version, {ray_advpose.__version__}, reads {_SCHEMA_VERSION}"
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


def check_data(folder: Path, data: DataIdentity, allow: Container[str] = ()) -> None:
    """Check that a checkpoint is whole and was trained on the given data; `UserError` if not."""
    saved_on = data_identity(read_manifest(folder))
    for field, wanted in vars(data).items():
        found = getattr(saved_on, field)
        if found != wanted and not (field == "fingerprint" and "data" in allow):
            raise UserError(f"{folder} was trained on data with {field} = {found}, this run's data has {wanted}")


def read_state(folder: Path, state: TrainState) -> dict[str, Any]:
    """Return what a checked checkpoint holds, as `TrainState.state_dict` made it, on the state's device."""
    content: dict[str, Any] = torch.load(folder / _STATE, map_location=state.device, weights_only=True)
    return content


def _description(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
