"""A pose net that is no hourglass goes through all three stages; no stage knows of it."""

import math
from itertools import pairwise

import pytest
import torch
from tiny_run import TinyRun, finish, make_run

from ray_advpose.data.identity import identity_of
from ray_advpose.nets.unet import UNet
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.restoring import load_checkpoint, take_snapshot


def weights_of(run: TinyRun) -> dict[str, dict[str, torch.Tensor]]:
    """Parameters and BatchNorm statistics of every network."""
    return {
        name: {key: tensor.clone() for key, tensor in net.state_dict().items()}
        for name, net in run.state.networks.items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.fixture
def new_unet_run(new_run):
    return lambda **overrides: new_run(net__architecture="unet", **overrides)


@pytest.fixture(scope="module")
def undisturbed(tiny_config, drawn_people):
    """A finished run, and the networks' weights before it and after each of its epochs."""
    run = make_run(tiny_config, drawn_people, net__architecture="unet")
    weights = [weights_of(run)]
    weights.extend(weights_of(run) for _ in run.epochs())
    return run, weights


def test_each_stage_trains_its_networks(undisturbed):
    run, weights = undisturbed
    assert isinstance(run.state.pose_net, UNet)
    changes = [{name: changed(before[name], after[name]) for name in before} for before, after in pairwise(weights)]
    moved = [{name for name, keys in change.items() if keys} for change in changes]
    assert moved == [{"pose"}] * 2 + [{"asr", "aho"}] * 2 + [{"pose", "asr", "aho"}] * 2
    kernels = {key for key, tensor in weights[0]["pose"].items() if tensor.dim() == 4}
    assert all(kernels <= changes[epoch]["pose"] for epoch in (0, 1, 4, 5))


def test_the_stages_report_what_they_do_of_an_hourglass(undisturbed, new_run):
    hourglass, (unet, _) = new_run(), undisturbed
    finish(hourglass)
    reports = [
        [(record.stage, record.epoch, record.step, record.images, record.means.keys()) for record in run.state.history]
        for run in (unet, hourglass)
    ]
    assert reports[0] == reports[1]
    assert all(math.isfinite(mean) for record in unet.state.history for mean in record.means.values())


def test_augmentation_networks_learn_from_its_features(new_unet_run):
    run = new_unet_run(stages__pose_epochs=1, stages__pretrain_epochs=24)
    finish(run, 25)
    first, *_, last = (record.means for record in run.state.history if record.stage == "pretrain")
    assert last["kl_asr"] < 0.5 * first["kl_asr"]
    assert last["kl_aho"] < 0.5 * first["kl_aho"]


@pytest.mark.parametrize("done", [1, 3, 5])
def test_stopped_saved_and_resumed_is_the_undisturbed_run(undisturbed, new_unet_run, tmp_path, done):
    stopped, (whole, _) = new_unet_run(), undisturbed
    finish(stopped, done)
    identity = identity_of(stopped.shards)
    write_checkpoint(tmp_path / "checkpoint", take_snapshot(stopped.state), identity)
    resumed = new_unet_run()
    load_checkpoint(tmp_path / "checkpoint", resumed.state, identity)
    finish(resumed)
    ended, expected = weights_of(resumed), weights_of(whole)
    assert [changed(expected[name], ended[name]) for name in expected] == [set()] * 3
    assert [(record.metric, record.means) for record in resumed.state.history] == [
        (record.metric, record.means) for record in whole.state.history
    ]


def test_the_loss_falls(new_unet_run):
    run = new_unet_run(
        stages__pose_epochs=12, stages__joint_epochs=1, random__flip_probability=0.0, random__color_range=0.0
    )
    losses = [record.means["loss_random"] for record, _ in zip(run.epochs(), range(12), strict=False)]
    assert losses[-1] < 0.6 * losses[0]
    assert sum(losses[-3:]) < sum(losses[3:6])
