from __future__ import annotations

from dataclasses import replace

import torch
from two_workers import WatchedTask

from ray_advpose.report.inputs_picture import inputs_picture
from ray_advpose.training.draws import random_augmentation
from ray_advpose.training.glimpse import glimpse
from ray_advpose.training.joint_step import share_sizes


def test_random_inputs_are_those_of_the_step(new_run):
    run = new_run()
    watched = replace(run, task=WatchedTask(**vars(run.task)))
    batch = run.batch(0)
    watched.joint_step()(batch)
    seen = glimpse(run.task, run.state, batch, most=len(batch))
    first, second, third = share_sizes(len(batch), asr=True, aho=True)
    # X1 and X3 see the random augmentation first, X2 last, as the reference.
    for slot in range(first + second + third):
        steps_own = watched.task.images[0, slot][-1 if first <= slot < first + second else 0]
        assert torch.equal(seen.random.image[slot], steps_own)


def test_adversarial_inputs_follow_the_prediction(new_run):
    run = new_run(asr__scale_sigma_log2=1e-4, asr__rotation_sigma_deg=1e-2)
    head = run.state.asr_net.rotation
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0] * (len(head.bias) - 1) + [100.0]))
    batch = run.batch(0)
    seen = glimpse(run.task, run.state, batch, most=4)
    assert len(seen.adversarial.image) == 4

    def turn(joints: torch.Tensor) -> torch.Tensor:  # of the line from the first joint to the second
        return torch.atan2(joints[:, 1, 1] - joints[:, 0, 1], joints[:, 1, 0] - joints[:, 0, 0])

    reference = random_augmentation(run.config, run.state.step).part(slice(0, 4))
    most = torch.full((4,), run.config.asr.max_rotation_deg)
    expected = run.task.see(batch.part(slice(0, 4)), reference.rescaled(torch.ones(4), most))
    assert torch.allclose(turn(seen.adversarial.joints_in), turn(expected.joints_in), atol=1e-3)


def test_what_is_dark_is_what_cells_were_drawn(new_run):
    run = new_run(aho__max_cells=1)
    seen = glimpse(run.task, run.state, run.batch(0), most=5)
    cells = run.config.aho.grid_height * run.config.aho.grid_width
    dark = 1 - seen.visible.mean(dim=(1, 2, 3))
    assert torch.allclose(dark, torch.full_like(dark, 1 / cells), atol=0.02)


def test_nothing_is_changed_and_arms_that_are_off_have_no_row(new_run):
    run = new_run(asr__enabled=False)
    before = {key: value.clone() for key, value in run.state.pose_net.state_dict().items()}
    seen = glimpse(run.task, run.state, run.batch(0), most=3)
    assert all(torch.equal(value, before[key]) for key, value in run.state.pose_net.state_dict().items())
    assert seen.adversarial is None
    picture = inputs_picture(seen, run.task.skeleton)
    assert picture.shape == (2 * 160 + 2, 3 * 160 + 4, 3)
    # The second row is the first, darker in places.
    assert picture[162:].mean() < picture[:160].mean()
