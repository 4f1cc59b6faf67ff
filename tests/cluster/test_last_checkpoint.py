"""Which checkpoint is gone on from, of those that a store holds."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.fs
import pytest
from any_data import DATA
from stored_files import write

from ray_advpose.cluster.storage import (
    last_between,
    last_untold,
    last_whole,
    still_there,
    store_at,
)
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST
from ray_advpose.training.schedule import make_schedule


@pytest.mark.parametrize(
    ("steps", "held", "reported", "expected"),
    [
        ((), 0, 0, None),
        ((3, 7), 0, 0, 7),
        ((3, 10), 0, 0, 3),  # the end of an epoch is still to be told
        ((13, 17, 20), 10, 10, 17),
        ((10,), 10, 10, None),
        ((21,), 0, 0, 21),  # of one that took over a stage 1 of 20 steps, within its first epoch
        ((22,), 0, 0, None),
        ((44,), 44, 44, None),
    ],
)
def test_a_trial_goes_on_from_the_last_checkpoint_of_the_epoch_that_is_yet_to_be_told(
    store, snapshot, tiny_config, steps, held, reported, expected
):
    stages = {"stages.pose_epochs": 2, "stages.pretrain_epochs": 1, "stages.pretrain_images": 24}
    schedule = make_schedule(tiny_config.replaced({**stages, "stages.joint_epochs": 2}), train_images=120)
    assert [span.end_step for span in schedule.spans] == [20, 22, 42]
    for step in steps:
        store.commit(snapshot(step), DATA)
    found = last_untold(store, schedule, held, min(reported, 42))
    assert found == (None if expected is None else store.place_of(expected))


@pytest.mark.parametrize("damage", ["cut", "alter", "remove"])
def test_a_damaged_checkpoint_is_skipped_for_the_last_whole_one_and_said(store, snapshot, damage):
    store.commit(snapshot(12), DATA)
    store.commit(snapshot(24), DATA)
    files, folder = pyarrow.fs.FileSystem.from_uri(store.place_of(24))
    with files.open_input_stream(f"{folder}/state.pt") as stream:
        content = bytearray(stream.read())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        files.delete_file(f"{folder}/state.pt")
    else:
        write(store, "step_000000024/state.pt", bytes(content[:-9] if damage == "cut" else content))
    said = []
    assert last_whole(store, skipped=said.append) == store.place_of(12)
    assert len(said) == 1
    assert said[0].startswith(f"skipped {store.place_of(24)}: ")
    assert "state.pt does not match the checkpoint's manifest" in said[0]


def test_an_empty_store_has_no_last_checkpoint(store):
    assert store.steps() == []
    assert last_whole(store, skipped=print) is None
    store.sweep()


def test_a_checkpoint_of_another_version_is_not_passed_over(tmp_path, snapshot):
    store = store_at(str(tmp_path))
    folder = Path(store.commit(snapshot(12), DATA))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "schema_version": 1}))
    with pytest.raises(UserError, match=r"schema_version = 1, written by ray_advpose .*, reads 2"):
        last_whole(store, skipped=print)
    assert store.steps() == [12]


def test_a_checkpoint_that_is_gone_is_stood_in_for_by_the_next(store, snapshot):
    for step in (12, 24, 36):
        store.commit(snapshot(step), DATA)
    assert still_there(store.place_of(24)) == store.place_of(24)
    store.delete(12)
    assert still_there(store.place_of(12)) == store.place_of(24)
    with pytest.raises(UserError, match=r"step_000000048.* is gone, and there is none after it"):
        still_there(store.place_of(48))


def test_the_last_whole_checkpoint_between_two_steps(store, snapshot):
    assert last_between(store, 0, 100) is None
    for step in (4, 8, 12, 16, 20):
        store.commit(snapshot(step), DATA)
    assert [last_between(store, after, 12) for after in (0, 4, 8)] == [store.place_of(8), store.place_of(8), None]
    assert last_between(store, 12, 24) == store.place_of(20)


def test_a_broken_checkpoint_is_stood_in_for_by_the_one_before(store, snapshot):
    for step in (12, 16, 20, 22, 24):
        store.commit(snapshot(step), DATA)
    write(store, "step_000000020/state.pt", b"cut off")
    write(store, "step_000000022/manifest.json", b'{"schema_version')
    assert last_between(store, 12, 24) == store.place_of(16)
    write(store, "step_000000016/config.yaml", b"")
    assert last_between(store, 12, 24) is None
