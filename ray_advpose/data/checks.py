"""Whether prepared data and a config go together; asked before any process is started."""

from __future__ import annotations

from pathlib import Path

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import task_for
from ray_advpose.errors import UserError


def check_data(config: Config, data: Path) -> ShardSet:
    """Open prepared data and check it against a config.

    Raises:
        UserError: The data is not whole, has no training or validation persons, or its canvases
            have no room for the config's augmentations.
    """
    shards = ShardSet.open(data)
    task_for(config, shards)
    for split in ("train", "val"):
        if shards.count(split) == 0:
            raise UserError(f"{data}: split {split!r} has no persons")
    return shards
