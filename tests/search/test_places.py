from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from ray_advpose.search.exploit import Standing
from ray_advpose.search.lineage import Lineage
from ray_advpose.search.places import (
    Pointer,
    checkpoints_of,
    place_now,
    prune_abandoned,
    scored_checkpoints,
)
from ray_advpose.training.checkpoint import _SCHEMA_VERSION


def checkpoint(output, trial, generation, step, score):
    folder = Path(checkpoints_of(output, trial, generation), f"step_{step:09d}")
    folder.mkdir(parents=True)
    manifest = {"schema_version": _SCHEMA_VERSION, "step": step, "score": score, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_of_what_was_abandoned_the_best_stays(tmp_path):
    kept = [
        checkpoint(tmp_path, "t_00000", 0, 10, 5.0),
        checkpoint(tmp_path, "t_00000", 0, 20, None),
        checkpoint(tmp_path, "t_00001", 1, 20, 7.0),
        checkpoint(tmp_path, "t_00002", 0, 20, 9.0),
    ]
    gone = [
        checkpoint(tmp_path, "t_00001", 0, 10, 3.0),
        checkpoint(tmp_path, "t_00001", 0, 15, None),
        checkpoint(tmp_path, "t_00002", 0, 10, 8.0),
        checkpoint(tmp_path, "t_00002", 1, 20, 6.0),
    ]
    # The first is still in its first generation, the second has copied once, the third twice.
    prune_abandoned(tmp_path, {"t_00000": 0, "t_00001": 1, "t_00002": 2})
    assert [folder for folder in kept if not folder.exists()] == []
    assert [folder for folder in gone if folder.exists()] == []
    found = {(each.trial_id, each.generation, each.step, each.score) for each in scored_checkpoints(tmp_path)}
    assert found == {("t_00000", 0, 10, 5.0), ("t_00001", 1, 20, 7.0), ("t_00002", 0, 20, 9.0)}


def test_a_trial_that_is_no_longer_training_keeps_all_it_has(tmp_path):
    left = [checkpoint(tmp_path, "t_00003", generation, 10, 1.0) for generation in (0, 1)]
    prune_abandoned(tmp_path, {"t_00000": 0})
    assert all(folder.exists() for folder in left)


def test_a_pointer_is_read_as_written(tmp_path):
    pointer = Pointer("t_00001", 2, "/somewhere/step_000000010")
    pointer.write(tmp_path)
    assert Pointer.read(tmp_path) == pointer
    result = SimpleNamespace(checkpoint=SimpleNamespace(path=str(tmp_path)))
    assert Pointer.of(result) == pointer
    assert Pointer.of(None) is None


def test_a_place_moves_with_its_search(tmp_path):
    before = "/nfs/old/trials/trial_00001/checkpoints_g2/step_000000010"
    assert place_now(before, tmp_path) == str(tmp_path / "trials/trial_00001/checkpoints_g2/step_000000010")
    for elsewhere in ("/nfs/old/pose_stages/abc", "/a", "trials/step"):
        assert place_now(elsewhere, tmp_path) == elsewhere


def test_a_lineage_moves_with_its_search(tmp_path):
    lineage = Lineage(tmp_path / "old" / "lineage.jsonl")
    place = str(tmp_path / "old/trials/trial_00000/checkpoints/step_000000010")
    lineage.add_standing(Standing(0, 1, 0, {"reward.alpha": 0.1}, 5.0, 10, place))
    (tmp_path / "old").rename(tmp_path / "new")
    (standing,) = Lineage(tmp_path / "new" / "lineage.jsonl").all_standings()
    assert standing.checkpoint == place.replace("/old/", "/new/")
