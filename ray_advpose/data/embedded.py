"""The data set that needs nothing but this package: drawn people, made on first use."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_advpose.data.manifest import MANIFEST
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic

_FOLDER = Path("data/synthetic")
BOX_PX = 96


def embedded_data(folder: Path = _FOLDER) -> Path:
    """Return the folder of the embedded data set, making it if it is not there."""
    if not (folder / MANIFEST).is_file():
        print(f"making the embedded data set in {folder}", file=sys.stderr, flush=True)
        write_shards(generate_synthetic(), folder, BOX_PX)
    return folder
