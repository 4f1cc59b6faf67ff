from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_run import shake

from ray_advpose.training import pose_step
from ray_advpose.training.draws import adversarial_draws, random_augmentation
from ray_advpose.training.joint_step import share_sizes


@pytest.mark.parametrize(
    ("batch_size", "asr", "aho", "sizes"),
    [
        (24, True, True, (8, 8, 8)),
        (25, True, True, (9, 8, 8)),
        (26, True, True, (10, 8, 8)),
        (3, True, True, (1, 1, 1)),
        (25, True, False, (13, 12, 0)),
        (25, False, True, (13, 0, 12)),
        (25, False, False, (25, 0, 0)),
    ],
)
def test_shares_are_equal_and_the_remainder_goes_to_the_first(batch_size, asr, aho, sizes):
    assert share_sizes(batch_size, asr, aho) == sizes


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_every_worker_has_images_of_every_share(workers):
    for batch_size in range(3 * workers, 40, 1):
        edges = torch.tensor(share_sizes(batch_size, True, True)).cumsum(0)
        for rank in range(workers):
            shares = torch.bucketize(torch.arange(rank, batch_size, workers), edges, right=True)
            assert shares.bincount(minlength=3).min() >= 1


@pytest.fixture
def draws_seen(monkeypatch):
    """The augmentation of every warp, in order."""
    seen = []
    warped = pose_step.augmented

    def augmented(batch, draw, *rest):
        seen.append((batch, draw))
        return warped(batch, draw, *rest)

    monkeypatch.setattr(pose_step, "augmented", augmented)
    return seen


def test_a_step_pays_for_five_ways_down_and_five_ways_up(new_run, passes):
    run = new_run()
    halves = passes(run.state.pose_net)
    run.joint_step()(run.batch())
    found = [(half.kind, half.learns, half.eval_mode) for half in halves]
    assert found == [
        ("descend", True, False),  # X1
        ("ascend", True, False),
        ("descend", False, True),  # X2: bridge features, nothing beyond the way down
        ("descend", True, False),  # X2: adversarial
        ("ascend", True, False),
        ("descend", False, False),  # X2: reference
        ("ascend", False, False),
        ("descend", True, False),  # X3: one way down for both passes
        ("ascend", True, False),
        ("ascend", False, False),
    ]
    shared, masked, reference = halves[-3:]
    assert masked.arguments[0] is reference.arguments[0] is shared.result
    assert [len(half.result) for half in halves if half.kind == "ascend"] == [4, 4, 4, 4, 4]


def test_adversary_and_reference_share_image_flip_and_colour(new_run, draws_seen):
    run = new_run()
    batch = run.batch()
    run.joint_step()(batch)
    (_, x1), (second, still), (third, adversarial), (fourth, reference), (_, x3) = draws_seen
    random = random_augmentation(run.config, batch.step)
    assert [len(draw.flip) for _, draw in draws_seen] == [4] * 5
    assert torch.equal(x1.scale, random.scale[:4])
    assert torch.equal(x3.scale, random.scale[8:])
    assert second.slot.tolist() == third.slot.tolist() == fourth.slot.tolist() == [4, 5, 6, 7]
    assert (still.scale == 1).all()
    assert not still.flip.any()
    assert torch.equal(reference.rotation_deg, random.rotation_deg[4:8])
    assert torch.equal(adversarial.flip, reference.flip)
    assert torch.equal(adversarial.color, reference.color)
    # Three scale bins at -0.6, 0 and 0.6 of sigma 0.05; four rotation bins 40 degrees apart from -60 of sigma 5.
    off_scale = (adversarial.scale.log2()[:, None] - torch.tensor([-0.6, 0, 0.6])).abs().min(dim=1).values
    off_rotation = (adversarial.rotation_deg[:, None] - torch.tensor([-60, -20, 20, 60])).abs().min(dim=1).values
    assert off_scale.max() <= 0.05 + 1e-5
    assert off_rotation.max() <= 5 + 1e-4


def test_adversarial_bins_follow_the_predicted_distribution(new_run, draws_seen):
    run = new_run()
    with torch.no_grad():
        run.state.asr_net.scale.bias.copy_(torch.tensor([-50.0, -50, 0]))
        run.state.asr_net.rotation.bias.copy_(torch.tensor([0, -50.0, -50, -50]))
    run.joint_step()(run.batch())
    adversarial = draws_seen[2][1]
    assert (adversarial.scale.log2() - 0.6).abs().max() <= 0.05 + 1e-5
    assert (adversarial.rotation_deg + 60).abs().max() <= 5 + 1e-4


def test_masks_of_the_adversary_and_of_random_cells(new_run, passes):
    run = new_run()
    batch = run.batch()
    halves = passes(run.state.pose_net)
    run.joint_step()(batch)
    adversarial, reference = (half.arguments[1] for half in halves[-2:])
    cells = adversarial_draws(run.config, batch.step, 1).cells[8:]
    for masks in (adversarial, reference):
        assert [mask.shape[-1] for mask in masks] == [8, 4, 2]
        assert torch.equal((masks[-1] == 0).sum(dim=(1, 2, 3)), cells)
    assert not (adversarial[-1] == reference[-1]).all(dim=(1, 2, 3)).any()


def test_reference_without_occlusion(new_run, passes):
    run = new_run(aho__reference="none")
    halves = passes(run.state.pose_net)
    run.joint_step()(run.batch())
    adversarial, reference = (half.arguments[1] for half in halves[-2:])
    assert adversarial is not None
    assert reference is None


@pytest.fixture
def share(new_run):
    """A share's result on a whole batch, with augmentation nets that let gradients through."""

    def compute(arm, **overrides):
        run = new_run(**overrides)
        shake(run.state.asr_net)
        shake(run.state.aho_net)
        step, batch = run.joint_step(), run.batch()
        random, draws = random_augmentation(run.config, 0), adversarial_draws(run.config, 0, 1)
        if arm == "asr":
            return run.state, step._asr_share(batch, random, draws)
        return run.state, step._aho_share(batch, random, draws)

    return compute


def has_gradient(net):
    return any(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("arm", ["asr", "aho"])
def test_no_gradient_from_the_augmentation_net_to_the_pose_net(share, arm):
    state, result = share(arm)
    result.augmenter_losses.mean().backward()
    assert not has_gradient(state.pose_net)
    assert [name for name, net in state.networks.items() if has_gradient(net)] == [arm]


@pytest.mark.parametrize("arm", ["asr", "aho"])
def test_no_gradient_from_the_pose_net_to_the_augmentation_net(share, arm):
    state, result = share(arm)
    result.pose_losses.mean().backward()
    assert [name for name, net in state.networks.items() if has_gradient(net)] == ["pose"]


def gradients_of(new_run, **overrides):
    run = new_run(**overrides)
    shake(run.state.asr_net)
    shake(run.state.aho_net)
    run.joint_step()(run.batch())[0].backward()
    return {
        name: torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
        for name, net in run.state.networks.items()
    }


def test_rates_of_reward_and_penalty_reach_the_augmentation_nets_alone(new_run):
    gentle = gradients_of(new_run, reward__alpha=0.1, reward__beta=0.1)
    harsh = gradients_of(new_run, reward__alpha=1.0, reward__beta=1.0)
    assert torch.equal(gentle["pose"], harsh["pose"])
    for name in ("asr", "aho"):
        assert harsh[name].norm() > 2 * gentle[name].norm()


@pytest.mark.parametrize("arm", ["asr", "aho"])
def test_an_image_is_rewarded_when_strictly_harder_than_its_reference(new_run, arm):
    # One image a share, so that sums over images are those of one image.
    outcomes = set()
    run = new_run()
    for at in range(4):
        for step in range(3):
            _, statistics = run.joint_step()(run.batch(step).part(torch.tensor([at, 4 + at, 8 + at])))
            values = {name: total.item() for name, (total, count) in statistics.items()}
            rewarded = values[f"rewarded_{arm}"]
            assert rewarded == (values[f"loss_{arm}"] > values[f"loss_{arm}_reference"])
            outcomes.add(rewarded)
    assert outcomes == {0, 1}


def test_the_loss_weighs_images_alike_and_each_augmentation_net_over_its_own_share(new_run):
    run = new_run(run__global_batch_size=14, stages__pretrain_images=14)
    loss, statistics = run.joint_step()(run.batch())
    totals = {name: (total.item(), count) for name, (total, count) in statistics.items()}
    assert [totals[f"loss_{share}"][1] for share in ("random", "asr", "aho")] == [6, 4, 4]
    pose_loss = sum(totals[f"loss_{share}"][0] for share in ("random", "asr", "aho")) / 14
    assert loss.item() > pose_loss
    # Without a noticeable reward or penalty nothing is left of the augmentation nets' losses.
    silent = new_run(run__global_batch_size=14, stages__pretrain_images=14, reward__alpha=1e-9, reward__beta=1e-9)
    assert silent.joint_step()(silent.batch())[0].item() == pytest.approx(pose_loss, abs=1e-6)


@pytest.mark.parametrize(
    ("asr", "aho", "names"),
    [(True, False, {"pose", "asr"}), (False, True, {"pose", "aho"}), (False, False, {"pose"})],
)
def test_arms_can_be_switched_off(new_run, asr, aho, names):
    run = new_run(asr__enabled=asr, aho__enabled=aho)
    loss, statistics = run.joint_step()(run.batch())
    loss.backward()
    assert set(run.state.networks) == names
    assert ("loss_asr" in statistics, "loss_aho" in statistics) == (asr, aho)
    assert (
        sum(count for name, (_, count) in statistics.items() if name in ("loss_random", "loss_asr", "loss_aho")) == 12
    )


def test_with_both_arms_off_a_joint_step_is_a_pose_step(new_run):
    run = new_run(asr__enabled=False, aho__enabled=False)
    twin = new_run(asr__enabled=False, aho__enabled=False)
    loss, _ = run.joint_step()(run.batch())
    alone, _ = pose_step.PoseStep(twin.task, twin.state.pose_net)(twin.batch())
    assert loss.item() == alone.item()


def test_a_control_draws_bins_and_cells_evenly_and_compares_nothing(new_run, draws_seen, passes):
    run = new_run(asr__policy="uniform", aho__policy="uniform", asr__scale_sigma_log2=0.0, asr__rotation_sigma_deg=0.0)
    assert run.state.networks.keys() == {"pose"}
    halves = passes(run.state.pose_net)
    scales, rotations = Counter(), Counter()
    step = run.joint_step()
    for number in range(60):
        _, statistics = step(replace(run.batch(), step=number))
        assert statistics.keys() == {"loss_random", "loss_asr", "loss_aho"}
        _, (_, adversarial), _ = draws_seen[-3:]
        scales.update(adversarial.scale.log2().mul(10).round().tolist())
        rotations.update(adversarial.rotation_deg.round().tolist())
    # X1 and X2 once each, X3 once with its masks; no passes for features or references.
    assert [(half.kind, half.learns) for half in halves[:6]] == [("descend", True), ("ascend", True)] * 3
    assert len(halves) == 60 * 6
    assert len(scales) == run.config.asr.scale_bins
    assert len(rotations) == run.config.asr.rotation_bins
    for found in (scales, rotations):
        expected = sum(found.values()) / len(found)
        assert all(0.6 * expected < each < 1.4 * expected for each in found.values())


def test_a_control_has_the_shares_of_the_arm_it_is_for(new_run, draws_seen):
    learned, uniform = new_run(), new_run(asr__policy="uniform", aho__policy="uniform")
    sizes = []
    for run in (learned, uniform):
        draws_seen.clear()
        _, statistics = run.joint_step()(run.batch())
        sizes.append([statistics[name][1] for name in ("loss_random", "loss_asr", "loss_aho")])
    assert sizes[0] == sizes[1]
