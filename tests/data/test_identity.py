from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ray_advpose.data.identity import persons_digest
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.lsp import read_lspet


def test_persons_are_the_same_however_they_are_cut_and_others_are_not(lspet_dir: Callable[..., Path], tmp_path: Path):
    def cut(box_px: int, *people: object) -> ShardSet:
        write_shards(read_lspet(lspet_dir(*people)), tmp_path / "cut", box_px=box_px, workers=1)
        return ShardSet.open(tmp_path / "cut")

    def moved(joints: np.ndarray) -> None:
        joints[:, :2, 3] += 2.0

    first, larger = cut(32, 20), cut(48, 20)
    assert larger.fingerprint != first.fingerprint
    digest = persons_digest(larger)
    assert persons_digest(cut(32, 20)) == digest
    assert persons_digest(cut(32, 24)) != digest
    assert persons_digest(cut(32, 20, moved)) != digest, "images numbered alike, with another person in one"
