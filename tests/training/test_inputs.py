import math

import numpy as np
import pytest
import torch

from ray_advpose.config import config_from_dict
from ray_advpose.pose.heatmap import decode
from ray_advpose.pose.skeleton import LSP
from ray_advpose.training.batch import CanvasBatch, CanvasGeometry
from ray_advpose.training.draws import Augmentation
from ray_advpose.training.inputs import PoseInput, augmented, entropy, person_losses

GEOMETRY = CanvasGeometry(canvas_px=120, box_px=64)
CONFIG = config_from_dict(
    {"net": {"input_px": 64, "poolings": 2, "channels": 8}, "loss": {"target_sigma_px": 1.5, "decoder": "exact"}},
    "test",
)
MIRROR = torch.from_numpy(LSP.mirror)
WRIST, OTHER_WRIST = LSP.index("right_wrist"), LSP.index("left_wrist")


def batch_of(canvas, joints_cv, annotated, normalizer=20.0):
    count = len(canvas)
    return CanvasBatch(
        step=0,
        slot=torch.arange(count),
        sample=torch.arange(count),
        canvas=canvas,
        joints_cv=joints_cv,
        annotated=annotated,
        normalizer_cv=torch.full((count,), normalizer),
    )


def painted_wrist(x_cv, y_cv):
    """A canvas with one bright spot, centred on the right wrist, the only joint annotated."""
    centre = torch.arange(GEOMETRY.canvas_px) + 0.5
    spot = torch.exp(-((centre - x_cv) ** 2)[None] / 18 - ((centre - y_cv) ** 2)[:, None] / 18)
    canvas = (200 * spot).to(torch.uint8)[None, :, :, None].repeat(1, 1, 1, 3)
    joints_cv = torch.zeros(1, 14, 2)
    joints_cv[0, WRIST] = torch.tensor([x_cv, y_cv])
    annotated = torch.zeros(1, 14, dtype=torch.bool)
    annotated[0, WRIST] = True
    return batch_of(canvas, joints_cv, annotated)


def draw_of(scale=1.0, rotation=0.0, flip=False, color=(1.0, 1.0, 1.0)):
    return Augmentation(torch.tensor([scale]), torch.tensor([rotation]), torch.tensor([flip]), torch.tensor([color]))


@pytest.mark.parametrize("seed", range(12))
def test_the_target_peaks_where_the_painted_joint_is_seen(seed):
    rng = np.random.default_rng(seed)
    x_cv, y_cv = rng.uniform(45, 75, 2)
    draw = draw_of(2 ** rng.uniform(-0.5, 0.5), rng.uniform(-60, 60), bool(seed % 2))
    seen = augmented(painted_wrist(x_cv, y_cv), draw, GEOMETRY, MIRROR, CONFIG)
    # A mirrored right wrist is a left one.
    joint = OTHER_WRIST if seed % 2 else WRIST
    assert seen.counted.nonzero().tolist() == [[0, joint]]
    light = seen.image[0].mean(dim=0).double()
    centre = torch.arange(64) + 0.5
    spot_in = torch.stack([(light.sum(dim=0) * centre).sum(), (light.sum(dim=1) * centre).sum()]) / light.sum()
    torch.testing.assert_close(seen.joints_in[0, joint].double(), spot_in, atol=0.3, rtol=0)
    peak_hm = decode(seen.target, "exact")[0, joint]
    torch.testing.assert_close(peak_hm * 4, seen.joints_in[0, joint], atol=0.05, rtol=0)


def test_joints_are_where_the_arithmetic_puts_them():
    # 10 canvas px right of the centre at half the crop's size is 20 input px; mirrored, to the left.
    batch = painted_wrist(70.0, 60.0)
    assert augmented(batch, draw_of(0.5), GEOMETRY, MIRROR, CONFIG).joints_in[0, WRIST].tolist() == [52, 32]
    mirrored = augmented(batch, draw_of(0.5, flip=True), GEOMETRY, MIRROR, CONFIG)
    assert mirrored.joints_in[0, OTHER_WRIST].tolist() == [12, 32]


def test_the_normaliser_shrinks_as_the_crop_grows():
    seen = augmented(painted_wrist(60.0, 60.0), draw_of(2.0), GEOMETRY, MIRROR, CONFIG)
    assert seen.normalizer_in.tolist() == [10]


def test_colour_factors_multiply_channels():
    plain, tinted = (
        augmented(painted_wrist(60.0, 60.0), draw_of(color=color), GEOMETRY, MIRROR, CONFIG).image
        for color in ((1.0, 1.0, 1.0), (0.5, 1.0, 1.2))
    )
    torch.testing.assert_close(tinted, plain * torch.tensor([0.5, 1.0, 1.2]).view(1, 3, 1, 1))


def test_a_joint_warped_out_of_the_frame_does_not_count():
    seen = augmented(painted_wrist(85.0, 60.0), draw_of(0.7), GEOMETRY, MIRROR, CONFIG)
    assert seen.joints_in[0, WRIST, 0] > 64
    assert not seen.counted.any()
    assert not seen.target.any()


def seen_of(target, counted):
    count, joints = counted.shape
    return PoseInput(torch.zeros(count, 3, 8, 8), torch.zeros(count, joints, 2), counted, target, torch.ones(count))


def test_loss_by_hand():
    target = torch.zeros(1, 3, 2, 2)
    target[0, 0, 0, 0] = 1
    heatmaps = torch.zeros(1, 2, 3, 2, 2)
    heatmaps[0, 1, 1] = 2  # second stack, second joint: 2 everywhere
    heatmaps[0, :, 2] = 99  # the joint that does not count
    seen = seen_of(target, torch.tensor([[True, True, False]]))
    # First joint: 1/4 in both stacks; second: 0 and 4. Mean of 0.5 and 4.
    assert person_losses(heatmaps, seen, 0.0).tolist() == [2.25]
    # The foreground pixel weighs 1 + 3: first joint 4/4 in both stacks.
    assert person_losses(heatmaps, seen, 3.0).tolist() == [3]


def test_persons_do_not_share_losses_and_one_without_joints_has_none():
    target = torch.zeros(2, 2, 2, 2)
    heatmaps = torch.ones(2, 1, 2, 2, 2)
    seen = seen_of(target, torch.tensor([[True, False], [False, False]]))
    assert person_losses(heatmaps, seen, 0.0).tolist() == [1, 0]


def test_what_does_not_count_sends_no_gradient():
    heatmaps = torch.ones(1, 1, 2, 2, 2, requires_grad=True)
    seen = seen_of(torch.zeros(1, 2, 2, 2), torch.tensor([[True, False]]))
    person_losses(heatmaps, seen, 1.0).sum().backward()
    assert heatmaps.grad[0, 0, 0].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert not heatmaps.grad[0, 0, 1].any()


def test_entropy():
    rows = torch.tensor([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]]).log()
    assert entropy(rows).tolist() == pytest.approx([math.log(4), 0, math.log(2)])
