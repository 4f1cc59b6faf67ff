from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from any_data import DATA

from ray_advpose.cluster.checkpoint_store import OvertakenError
from ray_advpose.cluster.saving import checkpoint_saver
from ray_advpose.cluster.storage import store_at
from ray_advpose.errors import UserError

LOG = logging.getLogger("tests.saving")


class Gate:
    """Lets a store commit one checkpoint each time it is opened."""

    def __init__(self, store):
        self.begun = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)
        commit = store.commit

        def wait(snapshot, data):
            self.begun.release()
            self.opened.acquire()
            return commit(snapshot, data)

        store.commit = wait


def test_training_does_not_wait_and_what_waits_is_the_newest(tmp_path, snapshot):
    store, saved = store_at(str(tmp_path)), []
    gate = Gate(store)
    with checkpoint_saver(store, DATA, 2, saved.append, LOG) as saver:
        saver.save(snapshot(1))
        gate.begun.acquire()
        for step in (2, 3, 4):
            saver.save(snapshot(step))  # returns although the first is not written
        gate.opened.release(2)
    assert [place[-1] for place in saved] == ["1", "4"]
    assert store.steps() == [1, 4]


def test_a_checkpoint_that_counts_is_waited_for_and_comes_last(tmp_path, snapshot):
    store, saved = store_at(str(tmp_path)), []
    gate = Gate(store)
    with checkpoint_saver(store, DATA, 2, saved.append, LOG) as saver:
        saver.save(snapshot(1))
        gate.begun.acquire()
        saver.save(snapshot(2))
        with ThreadPoolExecutor() as thread:
            place = thread.submit(saver.save_now, snapshot(3))
            while saver.waits:
                time.sleep(0.01)
            gate.opened.release(2)
            assert place.result(timeout=60) == store.place_of(3)
        assert store.steps() == [1, 3]
    # The caller tells of it, with its report.
    assert [place[-1] for place in saved] == ["1"]


@pytest.mark.parametrize(
    ("taken", "written"),
    [
        ([(2, [2]), (3, [2]), (4, [2, 4]), (5, [2, 4])], [1, 2, 5]),
        ([(2, [2]), (3, [2]), (4, [4, 2])], [1, 4]),
        # Of the epoch that ended at step 3, the best, no snapshot was taken.
        ([(2, [2]), (4, [3, 2, 4]), (5, [3, 2, 4])], [1, 2, 5]),
        # The first was better than all that wait.
        ([(2, [1, 2]), (3, [1, 2])], [1, 3]),
    ],
)
def test_the_best_of_the_epochs_ends_is_written_before_the_newest(tmp_path, snapshot, taken, written):
    store, saved = store_at(str(tmp_path)), []
    gate = Gate(store)
    with checkpoint_saver(store, DATA, 2, saved.append, LOG) as saver:
        saver.save(snapshot(1, [1] if 1 in taken[0][1] else []))
        gate.begun.acquire()
        for step, epoch_ends in taken:
            saver.save(snapshot(step, epoch_ends))
        gate.opened.release(len(written))
    assert saved == [store.place_of(step) for step in written]
    assert store.steps() == written


@pytest.mark.parametrize(("urgent", "before"), [(False, ["1", "2"]), (True, ["1"])])
def test_the_best_of_the_epochs_ends_is_written_before_a_checkpoint_that_counts_if_there_is_time(
    tmp_path, snapshot, urgent, before
):
    store, saved = store_at(str(tmp_path)), []
    gate = Gate(store)
    with checkpoint_saver(store, DATA, 2, saved.append, LOG) as saver:
        saver.save(snapshot(1))
        gate.begun.acquire()
        saver.save(snapshot(2, [2]))
        saver.save(snapshot(3, [2]))
        with ThreadPoolExecutor() as thread:
            place = thread.submit(saver.save_now, snapshot(4, [2, 4]), urgent)
            while saver.waits == urgent:
                time.sleep(0.01)
            gate.opened.release(3)
            assert place.result(timeout=60) == store.place_of(4)
    assert [place[-1] for place in saved] == before
    assert store.steps()[-1] == 4


def test_a_snapshot_is_of_its_moment(tmp_path, state, snapshot):
    store = store_at(str(tmp_path))
    weight = state.pose_net.state_dict()["stem.0.weight"]
    before = weight.clone()
    taken = snapshot(1)
    weight += 1
    store.commit(taken, DATA)
    saved = torch.load(tmp_path / "step_000000001" / "state.pt", weights_only=True)
    assert torch.equal(saved["networks"]["pose"]["stem.0.weight"], before)


def test_a_failure_in_the_background_is_said_and_training_goes_on(tmp_path, snapshot, caplog):
    store = store_at(str(tmp_path / "checkpoints"))
    with caplog.at_level("WARNING"), checkpoint_saver(store, DATA, 2, lambda place: None, LOG) as saver:
        saver.save_now(snapshot(1))
        (tmp_path / "checkpoints").rename(tmp_path / "away")
        (tmp_path / "checkpoints").touch()
        saver.save(snapshot(2))
    assert "the checkpoint of step 2 cannot be written" in caplog.text
    assert f"the last one written is {store.place_of(1)}; training goes on" in caplog.text


def test_a_failure_that_counts_is_one_sentence(tmp_path, snapshot):
    (tmp_path / "checkpoints").touch()
    store = store_at(str(tmp_path / "checkpoints"))
    with (
        checkpoint_saver(store, DATA, 2, lambda place: None, LOG) as saver,
        pytest.raises(UserError, match=r"step 1 cannot be written to .*: .*; none has been written since this start"),
    ):
        saver.save_now(snapshot(1))


def test_whoever_fails_leaves_what_waits(tmp_path, snapshot):
    store = store_at(str(tmp_path))
    gate = Gate(store)

    def fail():
        with checkpoint_saver(store, DATA, 2, lambda place: None, LOG) as saver:
            saver.save(snapshot(1))
            gate.begun.acquire()
            saver.save(snapshot(2))
            gate.opened.release(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.steps() == [1]


def _raise(error):
    raise error


def save_for(saver, snapshot, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        saver.save(snapshot)


def test_a_saver_that_is_overtaken_writes_and_deletes_nothing_more(tmp_path, snapshot):
    store, other = store_at(str(tmp_path)), store_at(str(tmp_path))
    with checkpoint_saver(store, DATA, 1, lambda place: None, LOG, writer=store.claim()) as saver:
        saver.save_now(snapshot(1))
        other.commit(snapshot(7), DATA)
        other.claim()
        # In the background it is found by what is saved, and told by the next that is.
        with pytest.raises(OvertakenError, match="it ends here"):
            save_for(saver, snapshot(2), seconds=10)
        with pytest.raises(OvertakenError):
            saver.save_now(snapshot(3))
    assert store.steps() == [1, 7]


def test_an_overtaken_run_does_not_sweep_what_is_being_written(tmp_path, snapshot):
    store = store_at(str(tmp_path))
    writer = store.claim()
    store_at(str(tmp_path)).claim()
    being_written = tmp_path / ".step_000000009.1-abc.partial"
    being_written.mkdir()
    with (
        pytest.raises(OvertakenError),
        checkpoint_saver(store, DATA, 1, lambda place: None, LOG, writer=writer),
    ):
        pass
    assert being_written.exists()


def test_a_claim_that_cannot_be_read_loses_no_checkpoint_and_deletes_none(tmp_path, snapshot, monkeypatch):
    store = store_at(str(tmp_path))
    with checkpoint_saver(store, DATA, 1, lambda place: None, LOG, writer=store.claim()) as saver:
        saver.save_now(snapshot(1))
        monkeypatch.setattr(store, "_note", lambda name: _raise(OSError("stale")))
        saver.save_now(snapshot(2))
        monkeypatch.setattr(store, "_note", lambda name: b"{")
        saver.save_now(snapshot(3))
    assert store.steps() == [1, 2, 3]


def test_what_was_found_in_the_background_ends_the_last_save_of_the_same_step(tmp_path, snapshot):
    store = store_at(str(tmp_path))
    writer = store.claim()
    with checkpoint_saver(store, DATA, 1, lambda place: store.claim(), LOG, writer=writer) as saver:
        saver.save(snapshot(5))
        while saver.waits:
            time.sleep(0.01)
        with pytest.raises(OvertakenError):
            saver.save_now(snapshot(5))
