from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ray_advpose.cluster.run_card import RunCard, alone_in, check_allowed, check_continues, has_run, read_card
from ray_advpose.cluster.storage import store_at
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import UserError

# Of 120 training images in batches of 12 after two epochs of stage 1; it ends at step 40.
STEP = 20


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "shards"
    write_shards(generate_synthetic(persons=160), folder, box_px=48)
    return ShardSet.open(folder)


@pytest.fixture
def trained(tmp_path, snapshot, shards):
    """A checkpoint within stage 1, and the config it was trained with."""
    taken = snapshot(STEP)
    return Path(store_at(str(tmp_path)).commit(taken, identity_of(shards))), taken.config


def test_a_card_is_read_back(tmp_path, state):
    assert not has_run(tmp_path)
    card = RunCard(state.config.model_dump(), "/data", "s3://bucket/run")
    card.write(tmp_path / "run")
    assert has_run(tmp_path / "run")
    assert read_card(tmp_path / "run") == (card, state.config, [])


@pytest.mark.parametrize("content", [None, "{", "{}", '{"config": 1, "data": "d", "checkpoints": "c"}'])
def test_a_folder_without_a_whole_card_holds_no_run(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        read_card(tmp_path)


def test_the_same_run_and_one_spread_otherwise_go_on(trained, shards):
    folder, config = trained
    check_continues(folder, config, (), shards, allow=())
    other = config.replaced({"run.num_workers": 2, "run.checkpoint_every_s": 5.0, "run.keep_last_checkpoints": 4})
    check_continues(folder, other, (), shards, allow=())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("reward.alpha", 0.3, "reward.alpha = 0.2, not 0.3"), ("run.seed", 5, "run.seed = 0, not 5")],
)
def test_a_changed_field_needs_to_be_allowed_by_name(trained, shards, field, value, words):
    folder, config = trained
    other = config.replaced({field: value})
    with pytest.raises(UserError) as caught:
        check_continues(folder, other, (), shards, allow=("optim.pose_lr", "data"))
    assert words in str(caught.value)
    assert f"--allow-change {field}" in str(caught.value)
    check_continues(folder, other, (), shards, allow=(field,))


@pytest.mark.parametrize(("field", "value"), [("asr.scale_bins", 5), ("aho.enabled", False)])
def test_other_networks_are_never_allowed(trained, shards, field, value):
    folder, config = trained
    with pytest.raises(UserError, match="other networks need another run"):
        check_continues(folder, config.replaced({field: value}), (), shards, allow=(field,))


def test_what_is_still_to_come_may_get_another_length(trained, shards):
    folder, config = trained
    for field, value in (("stages.joint_epochs", 9), ("stages.pose_epochs", 8), ("stages.pose_epochs", 2)):
        check_continues(folder, config.replaced({field: value}), (), shards, allow=(field,))


@pytest.mark.parametrize(("field", "value"), [("stages.pose_epochs", 1), ("run.global_batch_size", 6)])
def test_what_has_been_trained_may_not(trained, shards, field, value):
    folder, config = trained
    with pytest.raises(UserError, match="lies at step 20, in or after stage pose"):
        check_continues(folder, config.replaced({field: value}), (), shards, allow=(field,))


def test_other_images_need_to_be_allowed(trained, shards):
    folder, config = trained
    other = ShardSet(shards.place, shards.manifest.model_copy(update={"fingerprint": "f" * 16}))
    with pytest.raises(UserError, match=f"fingerprint = {shards.fingerprint}, this run's data has {'f' * 16}"):
        check_continues(folder, config, (), other, allow=())
    check_continues(folder, config, (), other, allow=("data",))
    canvas = shards.manifest.canvas.model_copy(update={"box_px": 40})
    other = replace(other, manifest=other.manifest.model_copy(update={"canvas": canvas}))
    with pytest.raises(UserError, match="box_px = 48, this run's data has 40"):
        check_continues(folder, config, (), other, allow=("data",))


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(UserError, match="run cannot be locked: No locks available"), alone_in(tmp_path / "run"):
        pass


def test_only_fields_and_data_can_be_allowed():
    check_allowed(["data", "reward.alpha"])
    with pytest.raises(UserError, match=r"reward\.alpah.*did you mean 'reward\.alpha'"):
        check_allowed(["reward.alpah"])
