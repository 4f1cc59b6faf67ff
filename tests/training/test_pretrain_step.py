import copy

import pytest
import torch
from tiny_run import shake

from ray_advpose.training.draws import Augmentation, sweep_normals
from ray_advpose.training.pretrain_step import PretrainStep

CELLS = torch.tensor([0.4, 0.3, 0.2, 0.1])


@pytest.fixture
def pretraining(new_run):
    """A run at its second stage, its step, and the step's targets by sample."""

    def start(**overrides):
        run = new_run(**overrides)
        shake(run.state.pose_net)
        run.state.pose_net(run.task.see(run.batch(), _still(12)).image)  # running statistics other than the initial
        run.state.pose_net.requires_grad_(False)
        targets = {}
        state = run.state
        return run, PretrainStep(run.task, state.pose_net, state.asr_net, state.aho_net, CELLS, targets), targets

    return start


def _still(count):
    return Augmentation(
        torch.ones(count), torch.zeros(count), torch.zeros(count, dtype=torch.bool), torch.ones(count, 3)
    )


def test_sweep_is_what_a_plain_loop_over_all_bin_pairs_measures(pretraining):
    run, step, targets = pretraining()
    batch = run.batch()
    step(batch)
    pose_net = run.state.pose_net.eval()
    for place in (0, 5, 11):
        normals = sweep_normals(run.config, int(batch.sample[place])).clamp(-1, 1)
        by_scale, by_rotation = torch.zeros(3), torch.zeros(4)
        for i, scale_log2 in enumerate((-0.6, 0.0, 0.6)):
            for k, rotation_deg in enumerate((-60.0, -20.0, 20.0, 60.0)):
                drawn = _still(1).rescaled(
                    2 ** (scale_log2 + 0.05 * normals[i, k, 0, None]), rotation_deg + 5 * normals[i, k, 1, None]
                )
                seen = run.task.see(batch.part(slice(place, place + 1)), drawn)
                loss = run.task.losses(pose_net(seen.image), seen).item()
                by_scale[i] += loss
                by_rotation[k] += loss
        expected = torch.cat([by_scale / by_scale.sum(), by_rotation / by_rotation.sum()])
        torch.testing.assert_close(targets[int(batch.sample[place])], expected, atol=1e-5, rtol=1e-4)


def test_targets_differ_between_images(pretraining):
    run, step, targets = pretraining()
    step(run.batch())
    assert len(targets) == 12
    assert torch.stack(list(targets.values())).std(dim=0).min() > 1e-4


def test_known_targets_are_used_and_not_measured_again(pretraining):
    run, step, targets = pretraining()
    batch = run.batch()
    first, _ = step(batch)
    measured = copy.deepcopy(targets)
    forwards = []
    run.state.pose_net.stem.register_forward_pre_hook(lambda module, inputs: forwards.append(len(inputs[0])))
    again, _ = step(batch)
    assert forwards == [12]
    assert again.item() == first.item()
    del targets[int(batch.sample[7])]
    step(batch)
    assert forwards == [12, 12, 12]  # the bridge features, then the 3 x 4 bin pairs of one image
    sample = int(batch.sample[7])
    torch.testing.assert_close(targets[sample], measured[sample], atol=1e-6, rtol=0)


def test_the_pose_net_stays_and_the_augmentation_nets_learn(pretraining):
    run, step, _ = pretraining()
    nets = run.state.networks
    before = copy.deepcopy({name: net.state_dict() for name, net in nets.items()})
    assert not any(name.startswith("pose") for name, _ in step.named_parameters())
    parameters = [parameter for name in ("asr", "aho") for parameter in nets[name].parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    divergences = []
    for _ in range(20):
        loss, statistics = step(run.batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        divergences.append({name: statistics[name][0].item() for name in ("kl_asr", "kl_aho")})
    for name, value in nets["pose"].state_dict().items():
        assert torch.equal(value, before["pose"][name]), name
    for name in ("kl_asr", "kl_aho"):
        assert divergences[-1][name] < 0.7 * divergences[0][name]


def test_the_loss_of_uniform_predictions_by_hand(pretraining):
    run, step, targets = pretraining()
    loss, statistics = step(run.batch())
    rows = torch.stack(list(targets.values()))
    scale, rotation = rows[:, :3], rows[:, 3:]
    # KL(P || uniform over k) = sum P log(k P).
    asr = ((scale * (3 * scale).log()).sum(1) + (rotation * (4 * rotation).log()).sum(1)).mean()
    aho = (CELLS * (4 * CELLS).log()).sum()
    assert loss.item() == pytest.approx((asr + aho).item(), rel=1e-4)
    assert statistics["kl_asr"][0].item() / 12 == pytest.approx(asr.item(), rel=1e-4)


@pytest.mark.parametrize(("arm", "other"), [("asr", "aho"), ("aho", "asr")])
def test_an_arm_that_is_off_is_not_trained(pretraining, arm, other):
    run, step, targets = pretraining(**{f"{other}__enabled": False})
    _, statistics = step(run.batch())
    assert f"kl_{arm}" in statistics
    assert f"kl_{other}" not in statistics
    assert bool(targets) == (arm == "asr")
