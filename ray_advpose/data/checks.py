"""Whether prepared data and a config go together; asked before any process is started."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet, read_columns
from ray_advpose.errors import UserError
from ray_advpose.training.schedule import make_schedule


def check_data(config: Config, data: str | Path) -> ShardSet:
    """Open prepared data and check it against a config.

    Raises:
        UserError: The data is not whole, has no persons to train on or to score, or its canvases
            have no room for the config's augmentations.
    """
    shards = ShardSet.open(data)
    check_config(config, shards)
    if shards.count("val") == 0:
        raise UserError(f"{data}: split 'val' has no persons")
    if not np.isfinite(_normalizers(shards)).any():
        raise UserError(
            f"{data}: no person of split 'val' has a normaliser, without which nothing can be scored;"
            " MPII's head rectangles are in its official .mat, not in the JSON form"
        )
    return shards


def check_config(config: Config, shards: ShardSet) -> None:
    """Check a config against opened data; `UserError` as in `check_data`."""
    if shards.count("train") == 0:
        raise UserError(f"{shards.place}: split 'train' has no persons")
    check_room(config, shards)
    make_schedule(config, shards.count("train"))


def check_room(config: Config, shards: ShardSet) -> None:
    """Check that canvases have room for the augmentations a config asks for; `UserError` if not."""
    canvas, asr = shards.manifest.canvas, config.asr
    scale, rotation = asr.max_scale_log2 + asr.scale_sigma_log2, asr.max_rotation_deg + asr.rotation_sigma_deg
    # A square reaches furthest at 45 degrees: what has room for those has room for all.
    turn = 180.0 if canvas.max_rotation_deg >= 45 else canvas.max_rotation_deg
    drawn = config.random
    random_log2 = 0.5 if drawn.random_range == "release" else math.log2(1.25)
    for field, wanted, room in (
        ("random.scale_times", random_log2 * drawn.scale_times, canvas.max_scale_log2),
        ("asr.max_scale_log2", asr.enabled * scale, canvas.max_scale_log2),
        ("asr.max_rotation_deg", asr.enabled * min(rotation, 180.0), turn),
    ):
        if wanted > room + 1e-9:
            part = "range" if field.startswith("random.") else "sigma"
            raise UserError(
                f"{field} with its {part} reaches {wanted:g}, but the canvases in {shards.place} were cut for"
                f" {room:g}; prepare them with more margin"
            )


def _normalizers(shards: ShardSet) -> np.ndarray:
    tables = read_columns(shards, "val", ["normalizer_px"])
    return np.concatenate([table["normalizer_px"].to_numpy() for table in tables])
