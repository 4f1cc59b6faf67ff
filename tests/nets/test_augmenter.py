from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.hourglass import StackedHourglass
from ray_advpose.sections import AhoConfig, AsrConfig, PoseNetConfig

SMALL = PoseNetConfig(channels=8, poolings=3, input_px=96)  # bridge features of 24, 12, 6 and 3
SHAPES = ((8, 24), (8, 12), (8, 6), (8, 3))


def random_features(shapes: tuple[tuple[int, int], ...] = SHAPES, batch: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(batch, c, side, side, generator=generator) for c, side in shapes)


def unsettle(net: nn.Module) -> None:
    """Give every parameter, and so the heads that start at zero, a random value."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("block", ["residual", "dense"])
@pytest.mark.parametrize("channels", [None, 12])
def test_predictions_are_normalised_log_probabilities(block: str, channels: int | None):
    config = PoseNetConfig(block=block, channels=8, dense_layers=2, dense_growth=4)
    asr = AsrNet(SHAPES, config, AsrConfig(scale_bins=5, rotation_bins=6), channels)
    aho = AhoNet(SHAPES, config, AhoConfig(grid_width=4, grid_height=3), channels)
    unsettle(asr)
    unsettle(aho)
    scale, rotation = asr(random_features())
    cells = aho(random_features())
    assert (scale.shape, rotation.shape, cells.shape) == ((2, 5), (2, 6), (2, 12))
    for log_probabilities in (scale, rotation, cells):
        torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(2))
        assert log_probabilities.std() > 0.01


def test_untrained_nets_predict_the_uniform_distribution():
    scale, rotation = AsrNet(SHAPES, SMALL, AsrConfig())(random_features())
    cells = AhoNet(SHAPES, SMALL, AhoConfig())(random_features())
    for log_probabilities, outcomes in ((scale, 7), (rotation, 9), (cells, 16)):
        torch.testing.assert_close(log_probabilities, torch.full((2, outcomes), -math.log(outcomes)))


@pytest.mark.parametrize(
    ("width", "height", "head_side"), [(3, 3, 3), (2, 2, 3), (4, 4, 6), (3, 4, 6), (7, 2, 12), (24, 24, 24)]
)
def test_the_grid_is_read_from_the_lowest_map_that_is_as_fine(width: int, height: int, head_side: int):
    net = AhoNet(SHAPES, SMALL, AhoConfig(grid_width=width, grid_height=height))
    assert net.head_side == head_side
    assert net(random_features()).shape == (2, height * width)


@pytest.mark.parametrize(("grid", "row", "column"), [((3, 3), 1, 2), ((2, 4), 0, 3)])
def test_cells_are_in_row_major_order(grid: tuple[int, int], row: int, column: int):
    # Blocks and head reduced to pass the feature's first channel on, so that one bright place marks its cell.
    height, width = grid
    net = AhoNet(SHAPES, SMALL, AhoConfig(grid_width=width, grid_height=height)).eval()
    for parameter in net.encoder.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(net.cells.weight)
    side = net.head_side
    features = [torch.zeros(1, c, s, s) for c, s in SHAPES]
    lowest = features[[s for _, s in SHAPES].index(side)]
    lowest[..., int((row + 0.5) / height * side), int((column + 0.5) / width * side)] = 100.0
    assert net(features).argmax(1).item() == row * width + column


def test_a_grid_finer_than_every_feature_is_refused():
    with pytest.raises(AssertionError, match="finer"):
        AhoNet(SHAPES, SMALL, AhoConfig(grid_width=25, grid_height=4))


@pytest.mark.parametrize("level", range(4))
def test_every_bridge_feature_is_read(level: int):
    asr, aho = AsrNet(SHAPES, SMALL, AsrConfig()), AhoNet(SHAPES, SMALL, AhoConfig(grid_width=3, grid_height=3))
    for net in (asr.eval(), aho.eval()):
        unsettle(net)
    features = random_features()
    changed = tuple(f + (i == level) for i, f in enumerate(features))
    assert not torch.allclose(asr(features)[0], asr(changed)[0])
    assert not torch.allclose(aho(features), aho(changed))


def test_the_heads_learn_first_and_the_rest_follows():
    net, features = AsrNet(SHAPES, SMALL, AsrConfig()), random_features()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    grads = []
    for _ in range(2):
        optimizer.zero_grad()
        scale, rotation = net(features)
        (-scale[:, 0] - rotation[:, 0]).mean().backward()
        grads.append([m.weight.grad.abs().max().item() for m in net.encoder.modules() if isinstance(m, nn.Conv2d)])
        assert net.scale.weight.grad.abs().max() > 0
        optimizer.step()
    assert max(grads[0]) == 0 < min(grads[1])


def test_detached_features_keep_the_gradient_out_of_the_pose_net():
    pose_net = StackedHourglass(SMALL, joints=5)
    net = AhoNet(pose_net.bridge_shapes, SMALL, AhoConfig())
    features = pose_net.descend(torch.randn(2, 3, 96, 96)).features
    before = [f.detach().clone() for f in features]
    net([f.detach() for f in features])[:, 0].mean().backward()
    assert all(parameter.grad is None for parameter in pose_net.parameters())
    assert all(map(torch.equal, before, features))


def test_augmentation_nets_learn_which_bin_belongs_to_which_picture():
    torch.manual_seed(0)
    net, features = AsrNet(SHAPES, SMALL, AsrConfig()), random_features(batch=7)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(30):
        scale, rotation = net(features)
        loss = -(scale.diagonal() + rotation.diagonal()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * math.log(7 * 9)


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (PoseNetConfig(), 0.20),
        (PoseNetConfig(stacks=4, blocks_per_unit=3, channels=256, poolings=4, input_px=256), 0.034),
    ],
)
def test_an_augmentation_net_costs_a_small_share_of_the_pose_net(config: PoseNetConfig, most: float):
    with torch.device("meta"):
        pose_net = StackedHourglass(config, joints=16).eval()
        net = AsrNet(pose_net.bridge_shapes, config, AsrConfig()).eval()
        x_in = torch.empty(1, 3, config.input_px, config.input_px)
        features = pose_net.descend(x_in).features
        with FlopCounterMode(display=False) as d_cost:
            pose_net(x_in)
        with FlopCounterMode(display=False) as g_cost:
            net(features)
    assert 0 < g_cost.get_total_flops() < most * d_cost.get_total_flops()
