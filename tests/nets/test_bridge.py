from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.bridge import BridgedPoseNet, BridgeShapes, Descent, mask_features
from ray_advpose.sections import AhoConfig, AsrConfig, PoseNetConfig


class TwoLevelNet(BridgedPoseNet):
    """The smallest pose net that is no hourglass: widths differ, and the side drops to a quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 4, stride=4)
        self.coarse = nn.Conv2d(6, 10, 4, stride=4)
        self.up = nn.Conv2d(10, 6, 1)
        self.heatmaps = nn.Conv2d(6, 5, 1)

    @property
    def bridge_shapes(self) -> BridgeShapes:
        return ((6, 16), (10, 4))

    def descend(self, x_in: Tensor) -> Descent:
        fine = self.fine(x_in).relu()
        return Descent(features=(fine, self.coarse(fine).relu()))

    def ascend(self, descent: Descent, masks: Sequence[Tensor] | None = None) -> Tensor:
        fine, coarse = mask_features(descent.features, masks)
        return self.heatmaps(fine + functional.interpolate(self.up(coarse), scale_factor=4.0)).unsqueeze(1)


def test_any_net_with_a_bridge_feeds_the_augmentation_nets():
    net, config = TwoLevelNet(), PoseNetConfig(channels=8)
    features = net.descend(torch.randn(2, 3, 64, 64)).features
    assert tuple((f.shape[1], f.shape[2]) for f in features) == net.bridge_shapes
    scale, rotation = AsrNet(net.bridge_shapes, config, AsrConfig())(features)
    cells = AhoNet(net.bridge_shapes, config, AhoConfig())(features)
    assert (scale.shape, rotation.shape, cells.shape) == ((2, 7), (2, 9), (2, 16))


def test_an_occluded_cell_reaches_the_heatmaps_there_and_nowhere_else():
    net, x_in = TwoLevelNet(), torch.randn(1, 3, 64, 64)
    mask = torch.ones(1, 1, 4, 4)
    mask[..., 1, 2] = 0
    masks = (functional.interpolate(mask, size=(16, 16)), mask)
    changed = (net(x_in) != net(x_in, masks))[0, 0].any(0)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:8, 8:12] = True
    assert torch.equal(changed, inside)


def test_masks_of_the_wrong_number_or_shape_are_refused():
    features = (torch.ones(2, 3, 8, 8), torch.ones(2, 3, 4, 4))
    fine, coarse = torch.ones(2, 1, 8, 8), torch.ones(2, 1, 4, 4)
    with pytest.raises(AssertionError, match="1 masks for 2"):
        mask_features(features, (fine,))
    with pytest.raises(AssertionError, match="mask"):
        mask_features(features, (coarse, fine))
    with pytest.raises(AssertionError, match="mask"):
        mask_features(features, (fine, torch.ones(2, 1, 1, 1)))
