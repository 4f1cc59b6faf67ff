from __future__ import annotations

from pathlib import Path

import pytest

from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """A prepared data set of 160 drawn people, 120 of them for training."""
    folder = tmp_path_factory.mktemp("people") / "shards"
    write_shards(generate_synthetic(persons=160), folder, box_px=48)
    return folder
