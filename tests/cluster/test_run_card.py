from __future__ import annotations

import errno
import fcntl
import json
import os
import runpy
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ray_advpose.cluster import single_run
from ray_advpose.cluster.layout import Node
from ray_advpose.cluster.run_card import RunCard, alone_in, check_allowed, check_continues, has_run, read_card
from ray_advpose.cluster.run_files import read_history, write_history
from ray_advpose.cluster.single_run import SingleRun, conduct_run
from ray_advpose.cluster.storage import store_at
from ray_advpose.cluster.trainer import Outcome
from ray_advpose.data.identity import identity_of
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import MANIFEST
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import make_schedule

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


@pytest.mark.parametrize(
    ("field", "value"), [("asr.scale_bins", 5), ("aho.enabled", False), ("optim.optimizer", "rmsprop")]
)
def test_other_networks_are_never_allowed(trained, shards, field, value):
    folder, config = trained
    with pytest.raises(UserError, match="other networks or optimisers need another run"):
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


def test_another_number_of_images_is_never_allowed(trained, shards):
    folder, config = trained
    counts = {**shards.manifest.counts, "train": 150}
    more = ShardSet(shards.place, shards.manifest.model_copy(update={"fingerprint": "f" * 16, "counts": counts}))
    with pytest.raises(UserError, match="train_images = 120, this run's data has 150"):
        check_continues(folder, config, (), more, allow=("data",))
    # Checkpoints from before the number was noted.
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["data"]["train_images"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    check_continues(folder, config, (), shards, allow=())


@pytest.fixture
def finished(tmp_path, snapshot, shards):
    """A run's folder with the checkpoint of its last step in it."""
    run, config = tmp_path / "run", snapshot(0).config
    RunCard(config.model_dump(), str(shards.place), None).write(run)
    total = make_schedule(config, shards.count("train")).total_steps
    store = store_at(str(run / "checkpoints"))
    store.probe()
    store.commit(snapshot(total), identity_of(shards))
    write_history(run, [EpochRecord("joint", epoch, total, 120, 1.0, 0.0, 50.0, {}, {}) for epoch in range(3)])
    return run


@pytest.fixture
def without_ray(monkeypatch):
    """Runs end at once, as ``ending`` says; their cards and the checkpoints they start from are in ``begun``."""
    stage = SimpleNamespace(begun=[], ending=lambda: Outcome([], None, "the last"))

    def training(config, card, output, checkpoint, *_):
        stage.begun.append((card, checkpoint))
        return stage.ending()

    monkeypatch.setattr(single_run, "local_ray", lambda cpus: nullcontext())
    monkeypatch.setattr(single_run, "cluster_nodes", lambda: [Node(4.0, 0.0)])
    monkeypatch.setattr(single_run, "run_training", training)
    return stage


def resume(*arguments):
    main = runpy.run_path(str(Path(__file__).parents[2] / "launch" / "train.py"))["main"]
    return main(["--resume", *map(str, arguments)])


def as_written_before(run, place):
    card = json.loads((run / "run.json").read_text())
    card["checkpoints"] = str(place)
    del card["storage"]
    (run / "run.json").write_text(json.dumps(card))


@pytest.mark.parametrize("old_card", [False, True])
@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_run_that_was_moved_or_copied_goes_on_from_its_own_checkpoints(finished, capsys, old_card, move):
    if old_card:
        as_written_before(finished, finished / "checkpoints")
    elsewhere = finished.parent / "elsewhere"
    move(str(finished), str(elsewhere))
    assert resume(elsewhere) == 0
    printed = capsys.readouterr().out
    assert "done already" in printed
    assert f"last checkpoint {elsewhere}/checkpoints/step_" in printed


def test_checkpoints_of_an_old_card_that_are_kept_elsewhere_are_found_there(finished, capsys):
    kept = finished.parent / "kept" / "checkpoints"
    kept.parent.mkdir()
    shutil.copytree(finished / "checkpoints", kept)
    as_written_before(finished, kept)
    assert resume(finished) == 0
    assert f"last checkpoint {kept}/step_" in capsys.readouterr().out


def test_a_run_that_was_trained_does_not_begin_anew_without_its_checkpoints(finished, without_ray):
    shutil.rmtree(finished / "checkpoints")
    with pytest.raises(
        UserError, match=r"trained 3 epochs by its history\.json.*no checkpoint.*--storage.*another --out"
    ):
        resume(finished)
    assert not without_ray.begun
    # Cut before there was one.
    write_history(finished, read_history(finished)[:2])
    assert resume(finished) == 0
    assert [checkpoint for _, checkpoint in without_ray.begun] == [None]


def test_where_to_go_on_from_is_chosen_by_the_only_one_who_trains(finished, monkeypatch):
    monkeypatch.setattr(single_run, "last_whole", lambda *_, **__: pytest.fail("chosen before the folder was ours"))
    with alone_in(finished), pytest.raises(UserError, match="another process is training in"):
        resume(finished)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("file://{}/a/", "file://{}/a"),
        ("{}/a/", "{}/a"),
        ("{}/run/checkpoints/", None),
    ],
)
def test_a_place_for_checkpoints_is_spelled_in_one_way(tmp_path, state, shards, without_ray, given, kept):
    run = SingleRun(state.config, shards.place, tmp_path / "run", given.format(tmp_path))
    assert conduct_run(run, None) == 0
    card, _, _ = read_card(tmp_path / "run")
    assert card.storage == (kept and kept.format(tmp_path))
    assert without_ray.begun == [(card, None)]


def ctrl_c():
    """As Python's own handler does; in the background, where a test may run, there is none."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "interrupted, without a checkpoint of this moment"),
        (ctrl_c, 130, "interrupted, without a checkpoint of this moment"),
        (lambda: Outcome([], signal.SIGTERM, None), 143, "cut while no workers were there to take a checkpoint"),
        (lambda: Outcome([], signal.SIGINT, "a/step_000000003"), 130, "cut at a/step_000000003"),
    ],
)
def test_whatever_cuts_a_run_it_says_how_to_go_on(tmp_path, state, shards, without_ray, capsys, ending, code, words):
    handler = signal.getsignal(signal.SIGTERM)
    without_ray.ending = ending
    assert conduct_run(SingleRun(state.config, shards.place, tmp_path / "run"), None) == code
    assert f"{words}; go on with: python launch/train.py --resume {tmp_path / 'run'}" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == handler


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
