"""What the joint step's options change: reward by joints found, Figure 4's designs, BatchNorm of adversarial passes."""

import copy
import dataclasses

import pytest
import torch
from tiny_run import shake

from ray_advpose.adversary.reward import reward_targets, verdicts
from ray_advpose.nets.bridge import Descent
from ray_advpose.pose.skeleton import LSP, MPII
from ray_advpose.sections import RewardConfig
from ray_advpose.training.draws import adversarial_draws
from ray_advpose.training.inputs import PoseInput
from ray_advpose.training.workers import share_of_all


def seen_of(joints_in, counted, normalizer=20.0):
    """What difficulty reads of the joints that a person should have, (J, 2) and (J,)."""
    return PoseInput(
        image=torch.empty(1, 0),
        joints_in=torch.tensor([joints_in], dtype=torch.float32),
        counted=torch.tensor([counted]),
        target=torch.empty(1, 0),
        normalizer_in=torch.tensor([normalizer]),
    )


def peaks_at(joints_in, side=8, stride=4):
    """(1, 1, J, side, side) heatmaps that decode to the centre of the pixel each joint lies on."""
    maps = torch.zeros(1, 1, len(joints_in), side, side)
    for joint, (x, y) in enumerate(joints_in):
        maps[0, 0, joint, y // stride, x // stride] = 1
    return maps


@pytest.mark.parametrize(("skeleton", "difficulty"), [(LSP, 3 / 8), (MPII, 1 / 6)])
def test_the_share_of_joints_not_found_by_hand(new_run, skeleton, difficulty):
    # Joints 0 to 7 count; 1, 6 and 7 are predicted 16 px off, at a torso or head of 20 px, and the rest right.
    # In MPII's order 6 and 7 are pelvis and thorax, which are never scored.
    run = new_run(reward__reward_by="pckh")
    task = dataclasses.replace(run.task, skeleton=skeleton)
    count = len(skeleton.joints)
    truth = [(2, 2)] * count
    predicted = [(18, 2) if joint in (1, 6, 7) else (2, 2) for joint in range(count)]
    seen = seen_of(truth, [joint < 8 for joint in range(count)])
    found = task.difficulty(torch.zeros(1), peaks_at(predicted), seen)
    assert found.item() == pytest.approx(difficulty)
    assert task.difficulty(torch.zeros(1), peaks_at(truth), seen).item() == 0


@pytest.mark.parametrize("reward_by", ["loss", "pckh"])
def test_without_a_joint_in_the_frame_there_is_no_difficulty(new_run, reward_by):
    task = new_run(reward__reward_by=reward_by).task
    nobody = seen_of([(2, 2)] * 14, [False] * 14)
    assert task.difficulty(torch.zeros(1), peaks_at([(2, 2)] * 14), nobody).isnan().all()


def test_a_person_without_a_normaliser_can_be_compared_by_loss_alone(new_run):
    unknown = seen_of([(2, 2)] * 14, [True] * 14, normalizer=torch.nan)
    for reward_by, known in (("loss", True), ("pckh", False)):
        task = new_run(reward__reward_by=reward_by).task
        assert task.difficulty(torch.ones(1), peaks_at([(2, 2)] * 14), unknown).isfinite().item() is known


def test_images_of_one_batch_are_judged_apart():
    # Rewarded, penalised and left alone, side by side: 0.5 x 1.2, 0.5 x 0.5, 0.5.
    verdict = verdicts(torch.tensor([2.0, 1.0, torch.nan]), torch.tensor([1.0, 1.0, 1.0]))
    drawn = torch.tensor([[True, False, False]]).expand(3, 3)
    probability = torch.tensor([[0.5, 0.3, 0.2]]).expand(3, 3)
    target = reward_targets(probability, drawn, verdict, RewardConfig(alpha=0.2, beta=0.5))
    expected = torch.tensor([[0.6, 0.25, 0.15], [0.25, 0.425, 0.325], [0.5, 0.3, 0.2]])
    torch.testing.assert_close(target, expected)


@pytest.mark.parametrize("arm", ["asr", "aho"])
def test_a_person_that_cannot_be_compared_teaches_the_augmentation_nets_nothing(new_run, arm):
    run = new_run(reward__reward_by="pckh")
    batch = run.batch()
    batch.normalizer_cv.fill_(torch.nan)
    for name in ("asr", "aho"):
        shake(run.state.networks[name])
    loss, statistics = run.joint_step()(batch)
    loss.backward()
    assert statistics[f"rewarded_{arm}"][1] == 0
    # The target is the prediction itself, whose divergence has no slope; what is left is rounding.
    gradients = torch.cat([parameter.grad.flatten() for parameter in run.state.networks[arm].parameters()])
    assert gradients.abs().max() < 1e-6
    assert all(parameter.grad is not None for parameter in run.state.pose_net.parameters())


def test_ties_are_penalised(new_run):
    # With nothing found by an untrained net under either augmentation, every comparison is a tie.
    run = new_run(reward__reward_by="pckh")
    batch = run.batch()
    batch.normalizer_cv.fill_(1e-6)
    with torch.no_grad():
        run.state.asr_net.scale.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    loss, statistics = run.joint_step()(batch)
    loss.backward()
    rewarded, compared = statistics["rewarded_asr"]
    assert (rewarded.item(), compared.item()) == (0, 4)
    # The middle bin has nearly all the mass and is drawn: a penalty pushes its logit down.
    assert run.state.asr_net.scale.bias.grad.tolist()[1] > 0


@pytest.mark.parametrize(("hierarchy", "masks"), [("down", 1), ("independent", 3)])
def test_the_other_designs_of_figure_4_reach_the_pose_net(new_run, passes, hierarchy, masks):
    run = new_run(aho__hierarchy=hierarchy)
    shake(run.state.aho_net)
    halves = passes(run.state.pose_net)
    loss, _ = run.joint_step()(run.batch())
    loss.backward()
    adversarial, reference = (half.arguments[1] for half in halves[-2:])
    cells = adversarial_draws(run.config, 0, masks).cells[8:]
    grids = [torch.nn.functional.max_pool2d(1 - mask, mask.shape[-1] // 2) for mask in adversarial]
    occluded = torch.stack([grid.sum(dim=(1, 2, 3)) for grid in grids])
    if hierarchy == "independent":
        assert torch.equal(occluded, cells.expand(3, 4).float())
        assert not all(torch.equal(grids[0], grid) for grid in grids)
    else:
        assert (occluded >= cells).all()
        assert (occluded > cells).any(), "shifted cells touch more than they cover"
    assert any(not torch.equal(a, b) for a, b in zip(adversarial, reference, strict=True))
    assert any(parameter.grad.any() for parameter in run.state.aho_net.parameters())


@pytest.mark.parametrize("adversarial_bn", ["shared", "separate"])
def test_only_learning_passes_move_running_statistics(new_run, passes, adversarial_bn):
    run = new_run(optim__adversarial_bn=adversarial_bn)
    shake(run.state.asr_net)
    pose_net = run.state.pose_net
    replayed = copy.deepcopy(pose_net)
    before = {name: buffer.clone() for name, buffer in pose_net.named_buffers()}
    halves = passes(pose_net)
    run.joint_step()(run.batch())
    learning = [half for half in halves if half.learns]
    assert [half.kind for half in learning] == ["descend", "ascend"] * 3
    # X1, then X2's adversarial pass, then X3's way down, which is not occluded yet, and way up, which is.
    tracked = [True] * 6 if adversarial_bn == "shared" else [True, True, False, False, True, False]
    descents: dict[int, Descent] = {}
    for half, moves in zip(learning, tracked, strict=True):
        if half.kind == "descend":
            # Run all the same: an ascent may follow. Copied, so that only the tracked ones are seen.
            net = replayed if moves else copy.deepcopy(replayed)
            descents[id(half.result)] = net.descend(*half.arguments)
        elif moves:
            descent, masks = half.arguments
            replayed.ascend(descents[id(descent)], masks)
    after = dict(pose_net.named_buffers())
    for name, buffer in replayed.named_buffers():
        assert torch.equal(buffer, after[name]), name
    assert not any(torch.equal(buffer, after[name]) for name, buffer in before.items())


def test_a_share_is_of_those_that_count():
    chosen = torch.tensor([True, True, False, False])
    assert share_of_all(chosen, torch.tensor([True, False, True, True])).item() == pytest.approx(1 / 3)
    assert share_of_all(chosen, torch.zeros(4, dtype=torch.bool)).item() == 0
    assert share_of_all(chosen[:0], chosen[:0]).item() == 0
