from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from any_data import DATA
from stored_files import files_of, write

from ray_advpose.cluster.checkpoint_store import OvertakenError
from ray_advpose.cluster.storage import (
    fetched,
    is_whole,
    keep_checkpoints,
    last_whole,
    share_checkpoint,
    store_at,
)
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import read_manifest, write_checkpoint


def test_a_committed_checkpoint_is_whole_and_alone(store, snapshot):
    place = store.commit(snapshot(12), DATA)
    assert place == store.place_of(12)
    assert store.steps() == [12]
    assert files_of(store) == [f"step_000000012/{name}" for name in ("config.yaml", "manifest.json", "state.pt")]
    with fetched(place) as folder:
        assert read_manifest(folder)["step"] == 12
        assert torch.load(folder / "state.pt", weights_only=True)["step"] == 12


def test_a_step_that_is_repeated_replaces_its_checkpoint(store, snapshot):
    store.commit(snapshot(12), DATA)
    write(store, "step_000000012/left_over")
    store.commit(snapshot(12), DATA)
    assert "step_000000012/left_over" not in files_of(store)
    assert store.steps() == [12]


def test_a_checkpoint_without_manifest_is_none_and_is_swept_away(store, snapshot):
    store.commit(snapshot(12), DATA)
    write(store, "step_000000030/state.pt")
    assert store.steps() == [12]
    assert last_whole(store, skipped=print) == store.place_of(12)
    if "://" in store.place:  # in a folder, what is being written has another name
        store.sweep()
        assert all("step_000000030" not in path for path in files_of(store))
    assert store.steps() == [12]


def test_what_else_lies_there_is_no_checkpoint_and_stays(store, snapshot):
    others = ["shards/manifest.json", "step_by_step/manifest.json", "other/step_000000099/manifest.json", "other/x"]
    for path in others:
        write(store, path)
    store.commit(snapshot(12), DATA)
    store.sweep()
    assert store.steps() == [12]
    assert last_whole(store, skipped=pytest.fail) == store.place_of(12)
    assert set(others) <= set(files_of(store))


def test_who_claims_a_place_last_has_it(store, snapshot):
    store.check_claim("nobody's")
    first = store.claim()
    store.check_claim(first)
    store.commit(snapshot(1), DATA)
    second = store_at(store.place).claim()
    store.check_claim(second)
    with pytest.raises(OvertakenError, match=f"in {re.escape(store.place)} was gone on with on {socket.gethostname()}"):
        store.check_claim(first)
    assert store.steps() == [1]
    store.sweep()
    store.check_claim(second)


def test_a_store_that_can_be_used_is_left_as_it_was(store):
    store.probe()
    assert files_of(store) == []


def test_the_last_ones_the_best_and_the_newest_within_an_epoch_are_kept(store, snapshot):
    ends = [15, 10, 40, 20, 30]  # best first; the epoch that ended at step 15 has no checkpoint
    for step in (5, 10, 20, 25, 30, 33, 36, 40, 42, 44, 46):
        store.commit(snapshot(step), DATA)
    keep_checkpoints(store, 46, ends, keep_last=2)
    assert store.steps() == [10, 30, 40, 44, 46]


def test_what_was_there_before_a_report_stays_until_the_next(store, snapshot):
    for step in (20, 25, 30):
        store.commit(snapshot(step), DATA)
    keep_checkpoints(store, 30, [20, 30], keep_last=2)
    # Workers that die between the checkpoint of 30 and its report start again from 25.
    assert store.steps() == [20, 25, 30]


def test_what_an_earlier_start_has_left_beyond_makes_room(store, snapshot):
    for step in (20, 40, 50, 60, 45):
        store.commit(snapshot(step), DATA)
    keep_checkpoints(store, 45, [20, 40], keep_last=2)
    assert store.steps() == [20, 40, 45]


@pytest.mark.parametrize("place", ["s4://bucket/run", "s3://"])
def test_a_place_that_is_none_is_one_sentence(place):
    with pytest.raises(UserError, match="names no storage") as caught:
        store_at(place).probe()
    assert "\n" not in str(caught.value)


def test_a_write_that_fails_leaves_nothing(tmp_path, snapshot, small_disk):
    store = store_at(str(small_disk / "checkpoints"))
    with pytest.raises(OSError, match="No space left"):
        store.commit(snapshot(12), DATA)
    assert list((small_disk / "checkpoints").iterdir()) == []


def test_storage_that_is_not_there_or_full_is_refused_beforehand(tmp_path, small_disk):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        store_at(str(tmp_path / "file" / "checkpoints")).probe()
    with pytest.raises(UserError, match="checkpoints cannot be kept in /proc/"):
        store_at("/proc/advpose").probe()
    (small_disk / "rest").write_bytes(bytes(64 << 10))
    with pytest.raises(UserError, match="No space left"):
        store_at(str(small_disk)).probe()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


KILLED = """
import os, pathlib, signal, sys
from ray_advpose.cluster.storage import store_at
sys.path.insert(0, {tests!r})
from any_data import DATA
import torch
from ray_advpose.presets import QUICK
from ray_advpose.training.restoring import take_snapshot
from ray_advpose.training.state import make_state

state = make_state(QUICK, 14, torch.device("cpu"))
state.step = 24
saves = 0
save = torch.save
def die(*args):
    save(*args)
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = die
store_at(sys.argv[1]).commit(take_snapshot(state), DATA)
"""


def test_a_process_killed_while_it_writes_leaves_no_checkpoint_and_is_swept_up_after(tmp_path, snapshot):
    store = store_at(str(tmp_path / "checkpoints"))
    store.commit(snapshot(12), DATA)
    script = KILLED.format(tests=str(Path(__file__).parent))
    killed = subprocess.run([sys.executable, "-c", script, store.place], check=False)
    assert killed.returncode == -9
    assert len(list(Path(store.place).iterdir())) == 2
    assert store.steps() == [12]
    store.sweep()
    assert [path.name for path in Path(store.place).iterdir()] == ["step_000000012"]


def test_what_a_killed_process_has_left_of_an_upload_is_swept_up(bucket, tmp_path, snapshot, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base, _, options = bucket.partition("?")
    place = f"{base}/{tmp_path.name}?{options}"
    script = KILLED.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", script, place], check=False, env=environment)
    assert killed.returncode == -9
    going_on = tmp_path / f"advpose-{os.getpid()}-mine"
    going_on.mkdir()
    assert len(list(tmp_path.iterdir())) == 2
    store_at(place).sweep()
    assert list(tmp_path.iterdir()) == [going_on]


def test_the_first_to_share_a_checkpoint_is_the_one_that_stays(tmp_path, snapshot):
    shared = tmp_path / "pose_stages" / "key"
    assert not is_whole(shared)
    share_checkpoint(snapshot(12), DATA, shared)
    assert is_whole(shared)
    share_checkpoint(snapshot(13), DATA, shared)
    assert read_manifest(shared)["step"] == 12
    assert [path.name for path in shared.parent.iterdir()] == ["key"]


def test_a_damaged_shared_checkpoint_is_replaced(tmp_path, snapshot):
    shared = tmp_path / "key"
    share_checkpoint(snapshot(12), DATA, shared)
    (shared / "state.pt").write_bytes(b"cut off")
    assert not is_whole(shared)
    share_checkpoint(snapshot(12), DATA, shared)
    assert is_whole(shared)


def test_who_shares_at_the_same_time_but_later_leaves_nothing(tmp_path, snapshot, monkeypatch):
    shared = tmp_path / "key"

    def beaten(folder, *args):
        write_checkpoint(folder, *args)
        write_checkpoint(shared, *args)

    monkeypatch.setattr("ray_advpose.cluster.storage.write_checkpoint", beaten)
    share_checkpoint(snapshot(12), DATA, shared)
    assert is_whole(shared)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_an_adopted_checkpoint_outlives_the_one_it_was_taken_from(tmp_path, snapshot):
    donor, own = store_at(str(tmp_path / "donor")), store_at(str(tmp_path / "own"))
    place = Path(donor.commit(snapshot(12), DATA))
    content = (place / "state.pt").read_bytes()
    adopted = own.adopt(place)
    assert adopted == own.place_of(12)
    assert (place / "state.pt").stat().st_ino == Path(adopted, "state.pt").stat().st_ino, "copied, not linked"
    # Done again, as when a search was cut before it had written down that it was done.
    assert own.adopt(place) == adopted
    donor.delete(12)
    assert is_whole(Path(adopted))
    assert Path(adopted, "state.pt").read_bytes() == content
    assert own.steps() == [12]
