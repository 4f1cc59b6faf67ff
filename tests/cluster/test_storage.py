from __future__ import annotations

import pytest
import torch

from ray_advpose.cluster.storage import (
    checkpoint_at,
    checkpoint_steps,
    commit_checkpoint,
    is_whole,
    keep_checkpoints,
    share_checkpoint,
)
from ray_advpose.presets import QUICK
from ray_advpose.training.checkpoint import DataIdentity, read_manifest, write_checkpoint
from ray_advpose.training.state import make_state

DATA = DataIdentity("0" * 16, "lspet", "lsp", 72, 32)


@pytest.fixture(scope="module")
def state():
    config = QUICK.replaced({"net.channels": 8, "net.input_px": 32, "net.poolings": 2})
    return make_state(config, 14, torch.device("cpu"))


def test_a_committed_checkpoint_is_whole_and_alone(tmp_path, state):
    state.step = 12
    folder = commit_checkpoint(state, DATA, tmp_path)
    assert read_manifest(folder)["step"] == 12
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert checkpoint_steps(tmp_path) == [12]


def test_a_step_that_is_repeated_replaces_its_checkpoint(tmp_path, state):
    state.step = 12
    first = commit_checkpoint(state, DATA, tmp_path)
    (first / "left_over").touch()
    assert commit_checkpoint(state, DATA, tmp_path) == first
    assert not (first / "left_over").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path, state, monkeypatch):
    state.step = 12

    def disk_full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space"):
        commit_checkpoint(state, DATA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path, state):
    state.step = 12
    commit_checkpoint(state, DATA, tmp_path)
    checkpoint_at(tmp_path, 30).mkdir()
    assert checkpoint_steps(tmp_path) == [12]


def test_the_last_ones_and_the_best_are_kept(tmp_path, state):
    for step in (10, 20, 30, 40):
        state.step = step
        commit_checkpoint(state, DATA, tmp_path)
    # The epoch that ended at step 15 scored best, but has no checkpoint.
    keep_checkpoints(tmp_path, steps_by_score=[15, 10, 40, 20, 30], keep_last=2)
    assert checkpoint_steps(tmp_path) == [10, 30, 40]


def test_the_first_to_share_a_checkpoint_is_the_one_that_stays(tmp_path, state, monkeypatch):
    shared = tmp_path / "pose_stages" / "key"
    assert not is_whole(shared)
    state.step = 12
    share_checkpoint(state, DATA, shared)
    assert is_whole(shared)
    state.step = 13
    share_checkpoint(state, DATA, shared)
    assert read_manifest(shared)["step"] == 12
    assert [path.name for path in shared.parent.iterdir()] == ["key"]


def test_a_damaged_shared_checkpoint_is_replaced(tmp_path, state):
    shared = tmp_path / "key"
    share_checkpoint(state, DATA, shared)
    (shared / "state.pt").write_bytes(b"cut off")
    assert not is_whole(shared)
    share_checkpoint(state, DATA, shared)
    assert is_whole(shared)


def test_who_shares_at_the_same_time_but_later_leaves_nothing(tmp_path, state, monkeypatch):
    shared = tmp_path / "key"

    def beaten(folder, *args):
        write_checkpoint(folder, *args)
        write_checkpoint(shared, *args)

    monkeypatch.setattr("ray_advpose.cluster.storage.write_checkpoint", beaten)
    share_checkpoint(state, DATA, shared)
    assert is_whole(shared)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
