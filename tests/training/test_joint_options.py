"""What the joint step's options change: reward by joints found, Figure 4's designs, BatchNorm of adversarial passes."""

import copy

import pytest
import torch
from tiny_run import shake

from ray_advpose.nets.bridge import Descent
from ray_advpose.training.draws import adversarial_draws, random_augmentation


def test_reward_by_joints_found(new_run):
    run = new_run(reward__reward_by="pckh")
    seen = run.task.see(run.batch(), random_augmentation(run.config, 0))
    right = seen.target[:, None]
    wrong = right.flip(-1).flip(-2)
    losses = torch.zeros(12)
    known = seen.normalizer_in.isfinite() & seen.counted.any(dim=1)
    assert known.sum() >= 6
    assert (run.task.difficulty(losses, right, seen)[known] == 0).all()
    assert (run.task.difficulty(losses, wrong, seen)[known] > 0.5).any()
    unknown = seen.normalizer_in.isnan()
    assert run.task.difficulty(losses, wrong, seen)[unknown].isnan().all()


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
