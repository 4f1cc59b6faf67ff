"""What a checkpoint remembers of the data it was trained on."""

from __future__ import annotations

from ray_advpose.data.shards import ShardSet
from ray_advpose.training.checkpoint import DataIdentity


def identity_of(shards: ShardSet) -> DataIdentity:
    """Return what a checkpoint remembers of its data."""
    manifest = shards.manifest
    return DataIdentity(
        fingerprint=manifest.fingerprint,
        protocol=manifest.protocol,
        skeleton=manifest.skeleton,
        canvas_px=manifest.canvas.canvas_px,
        box_px=manifest.canvas.box_px,
        train_images=shards.count("train"),
    )
