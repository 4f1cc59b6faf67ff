"""A checkpoint as a folder of files; the manifest, written last, makes it one.

A folder without a manifest, or with a file that does not match it, is what an interrupted copy
leaves behind, and is never loaded. Processes that only look after checkpoints do without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Container
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray_advpose
from ray_advpose.config import Config, load_config
from ray_advpose.errors import UserError

_SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
STATE = "state.pt"
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
        train_images: How many there are to train on; None in checkpoints from before this was noted.
    """

    fingerprint: str
    protocol: str
    skeleton: str
    canvas_px: int
    box_px: int
    train_images: int | None = None


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


def write_checkpoint(folder: Path, snapshot: Snapshot, data: DataIdentity) -> None:
    """Write a checkpoint into a new folder; it has reached the disk when this returns.

    Args:
        folder: Created; must not exist.
        snapshot: What to save.
        data: What it was trained on.
    """
    folder.mkdir(parents=True)
    _save(snapshot.content, folder / STATE)
    (folder / _CONFIG).write_text(snapshot.config.to_yaml(), encoding="utf-8")
    for name in (STATE, _CONFIG):
        flush(folder / name)
    manifest = {
        "schema_version": _SCHEMA_VERSION,
        "step": snapshot.step,
        "score": snapshot.score,
        "data": vars(data),
        "lineage": snapshot.content["lineage"],
        "versions": {
            "ray_advpose": ray_advpose.__version__,
            "torch": version("torch"),
            "python": platform.python_version(),
        },
        "files": {name: _description(folder / name) for name in (STATE, _CONFIG)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    flush(folder / MANIFEST)
    flush(folder)


def _save(content: dict[str, Any], path: Path) -> None:
    # Takes a second, and who has networks to save has it by now.
    import torch

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
    for name, expected in manifest.get("files", {STATE: None}).items():
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


def check_data(folder: Path, data: DataIdentity, allow: Container[str] = ()) -> None:
    """Check that a checkpoint is whole and was trained on the given data; `UserError` if not.

    With ``data`` allowed the images may be others, but as many: else its step would lie elsewhere in the schedule.
    """
    saved_on = data_identity(read_manifest(folder))
    for field, wanted in vars(data).items():
        found = getattr(saved_on, field)
        allowed = (field == "fingerprint" and "data" in allow) or (field == "train_images" and found is None)
        if found != wanted and not allowed:
            raise UserError(f"{folder} was trained on data with {field} = {found}, this run's data has {wanted}")


def _description(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
