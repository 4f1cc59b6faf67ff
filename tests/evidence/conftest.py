from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.data.persons import SPLITS
from ray_advpose.data.shards import ShardSet
from ray_advpose.evidence.held import decode_split, hold_split
from ray_advpose.evidence.one_run import Means

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def canvases(drawn_people: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canvases")
    for split in SPLITS:
        decode_split(drawn_people, split, folder, threads=2)
    return folder


@pytest.fixture
def means(drawn_people: ShardSet, canvases: Path, tmp_path: Path) -> Means:
    splits = {split: hold_split(canvases, split, CPU) for split in SPLITS}
    return Means(drawn_people, splits, tmp_path / "runs", CPU)


@pytest.fixture(scope="session")
def base(tiny_config: Config) -> Config:
    return tiny_config.replaced({"run.probe_images": 2, "stages.joint_epochs": 2})
