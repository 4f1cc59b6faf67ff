"""What tells one data set from another: what a checkpoint remembers of it, and who is in which part of it."""

from __future__ import annotations

import hashlib

import numpy as np

from ray_advpose.data.persons import SPLITS
from ray_advpose.data.shards import ShardSet, read_columns
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


def persons_digest(shards: ShardSet) -> str:
    """Return what is equal for data sets with the same persons in the same splits, however their pictures were cut.

    The fingerprint is of bytes, and a picture's bytes depend on the side of the person's box and, in a few pixels, on
    the vector instructions of the processor that cut it. Here a person is an identifier and the place and side of the
    box in the original image, to the pixel: images of another set can be numbered alike.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        tables = read_columns(shards, split, ("person_id", "center_px", "box_px"))
        names = [name for table in tables for name in table.column("person_id").to_pylist()]
        digest.update("\n".join([f"{split}:{len(names)}", *names, ""]).encode())
        for column in ("center_px", "box_px"):
            for table in tables:
                values = table.column(column).combine_chunks()
                flat = (values.flatten() if column == "center_px" else values).to_numpy()
                digest.update(np.rint(flat).astype("<i8").tobytes())
    return digest.hexdigest()[:16]
