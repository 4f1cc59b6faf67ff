from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ray_advpose.data import shard_writer
from ray_advpose.data.identity import persons_digest
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.lsp import read_lspet


def test_persons_are_the_same_however_they_are_cut_and_others_are_not(
    lspet_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def cut(*people: object, box_px: int = 32, val: float = 0.1) -> ShardSet:
        write_shards(read_lspet(lspet_dir(*people), val), tmp_path / "cut", box_px=box_px, workers=1)
        return ShardSet.open(tmp_path / "cut")

    def moved(joints: np.ndarray) -> None:
        joints[:, :2, 16] += 2.0

    first = cut(20)
    digest = persons_digest(first)
    assert persons_digest(cut(20)) == digest
    larger = cut(20, box_px=48)
    assert larger.fingerprint != first.fingerprint
    assert persons_digest(larger) == digest
    assert persons_digest(cut(24)) != digest
    assert persons_digest(cut(20, val=0.2)) != digest, "the same persons in other splits"
    assert persons_digest(cut(20, moved)) != digest, "images numbered alike, with another person in one"
    monkeypatch.setattr(shard_writer, "SHARD_ROWS", 3)
    in_pieces = cut(20)
    assert len(in_pieces.manifest.shards) > len(first.manifest.shards)
    assert persons_digest(in_pieces) == digest
