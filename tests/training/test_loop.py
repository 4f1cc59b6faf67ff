import random

import numpy as np
import pytest
import torch
from tiny_run import EPOCHS, assert_equal, finish, make_run, train_to

from ray_advpose.data.identity import identity_of
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.history import Validation
from ray_advpose.training.restoring import load_checkpoint, take_snapshot


@pytest.fixture(scope="module")
def undisturbed(tiny_config, drawn_people):
    run = make_run(tiny_config, drawn_people)
    finish(run)
    return run


def test_three_stages_one_record_an_epoch(undisturbed):
    history = undisturbed.state.history
    assert [(record.stage, record.epoch) for record in history] == [
        (stage, epoch) for stage in ("pose", "pretrain", "joint") for epoch in (1, 2)
    ]
    # 90 / 12 = 7.5 steps, 24 / 12 = 2, 90 / 12 = 7.5, all rounded up.
    assert [record.step for record in history] == [4, 8, 9, 10, 14, 18]
    assert [record.images for record in history] == [48, 48, 12, 12, 48, 48]
    assert undisturbed.state.step == undisturbed.schedule.total_steps == 18
    assert [set(record.learning_rates) for record in history] == (
        [{"pose"}] * 2 + [{"asr", "aho"}] * 2 + [{"pose", "asr", "aho"}] * 2
    )
    assert {"loss_asr", "loss_aho", "rewarded_asr", "rewarded_aho", "entropy_cells"} <= set(history[-1].means)
    assert [record.metric for record in history[2:4]] == [history[1].metric] * 2
    assert all(0 <= record.waiting_share <= 1 for record in history)


@pytest.mark.parametrize("done", [1, 3, 5])
def test_stopped_saved_and_resumed_is_the_undisturbed_run(undisturbed, new_run, tmp_path, done):
    stopped = new_run()
    finish(stopped, done)
    identity = identity_of(stopped.shards)
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(stopped.state), identity)
    resumed = new_run()
    load_checkpoint(tmp_path / "checkpoint", resumed.state, identity)
    assert_equal(stopped.state, resumed.state)
    finish(resumed)
    assert len(resumed.state.history) == EPOCHS
    assert_equal(resumed.state, undisturbed.state)


# 2 steps into an epoch of stage 1, 1 step before its end, between stages 2 and 3, within stage 3.
@pytest.mark.parametrize("step", [2, 7, 10, 12, 17])
def test_cut_within_an_epoch_saved_and_resumed_is_the_undisturbed_run(undisturbed, new_run, tmp_path, step):
    cut = new_run()
    train_to(cut, step)
    assert cut.state.step == step
    identity = identity_of(cut.shards)
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(cut.state), identity)
    resumed = new_run()
    load_checkpoint(tmp_path / "checkpoint", resumed.state, identity)
    finish(resumed)
    # The means over an epoch, too, are those of an epoch that was not cut.
    assert_equal(resumed.state, undisturbed.state)


def test_an_epoch_of_stage_2_is_cut_and_keeps_what_it_has_measured(new_run, tmp_path):
    longer = {"stages__pretrain_images": None, "stages__pretrain_epochs": 1}
    whole, cut, resumed = new_run(**longer), new_run(**longer), new_run(**longer)
    finish(whole)
    train_to(cut, 11)
    assert len(cut.state.sweep_targets) == 3 * 12
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(cut.state), identity_of(cut.shards))
    load_checkpoint(tmp_path / "checkpoint", resumed.state, identity_of(cut.shards))
    finish(resumed)
    assert_equal(resumed.state, whole.state)


def test_nothing_is_drawn_from_generators_that_have_a_state(undisturbed, new_run):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    run = new_run()
    finish(run)
    assert_equal(run.state, undisturbed.state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[:2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_another_seed_is_another_run(undisturbed, new_run):
    other = new_run(run__seed=1)
    finish(other, 1)
    assert other.state.history[0].means != undisturbed.state.history[0].means


def test_only_what_a_stage_trains_changes(new_run):
    run = new_run()
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in run.state.networks.items()}
    moved = []
    for _ in run.epochs():
        now = {name: [p.detach().clone() for p in net.parameters()] for name, net in run.state.networks.items()}
        moved.append({name for name in now if not all(map(torch.equal, now[name], before[name]))})
        before = now
    assert moved == [{"pose"}] * 2 + [{"asr", "aho"}] * 2 + [{"pose", "asr", "aho"}] * 2


def test_rates_reach_the_optimizers(new_run):
    run = new_run(stages__joint_epochs=4, optim__plateau_patience_epochs=1)
    scores = iter([50.0, 50.0, 60.0, 59.0, 70.0, 80.0])
    rates = []
    for record in run.epochs(validate=lambda: Validation(next(scores))):
        used = {name: run.state.optimizers[name].param_groups[0]["lr"] for name in record.learning_rates}
        assert used == record.learning_rates
        rates.append(record.learning_rates.get("pose"))
    # The drop follows the second epoch of the third stage and stays.
    assert rates == [2e-3, 2e-3, None, None, 2e-3, 2e-3, 5e-5, 5e-5]


@pytest.mark.parametrize("given", [[0, 2], [0, 0], [1], [0]])
def test_a_stream_that_skips_repeats_or_ends_is_noticed(new_run, given):
    run = new_run()
    with pytest.raises(RuntimeError, match=r"the stream (gave step \d|ended) where step \d was due"):
        next(run.epochs(batches=(run.batch(step) for step in given)))


def test_an_arm_switched_off_goes_through(new_run):
    run = new_run(asr__enabled=False, aho__enabled=False)
    finish(run)
    assert [record.stage for record in run.state.history] == ["pose", "pose", "joint", "joint"]
    assert run.state.step == 16


def test_the_loss_falls(new_run):
    run = new_run(stages__pose_epochs=12, stages__joint_epochs=1, random__flip_probability=0.0, random__color_range=0.0)
    losses = [record.means["loss_random"] for record, _ in zip(run.epochs(), range(12), strict=False)]
    assert losses[-1] < 0.6 * losses[0]
    assert sum(losses[-3:]) < sum(losses[3:6])
