"""The pose net D: a stacked hourglass that runs in two halves around its first bridge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ray_advpose.nets.blocks import make_stem, make_unit
from ray_advpose.nets.bridge import BridgedPoseNet, BridgeShapes, Descent, mask_features
from ray_advpose.sections import PoseNetConfig


class StackedHourglass(BridgedPoseNet):
    """Stacked hourglasses with supervision after every one of them.

    The bridge features are what the *first* hourglass hands from its way down to its way up: the
    output of the skip branch at every resolution, and the neck at the lowest. Way down, way up and
    what follows them are modules of their own, so that `descend` pays for nothing else.

    Args:
        config: Block, counts, width and input size.
        joints: J, the heatmaps of each stack.
    """

    def __init__(self, config: PoseNetConfig, joints: int) -> None:
        super().__init__()
        self.config = config
        self.stem = make_stem(config.channels)
        self.ways_down = nn.ModuleList(WayDown(config) for _ in range(config.stacks))
        self.ways_up = nn.ModuleList(WayUp(config) for _ in range(config.stacks))
        self.readouts = nn.ModuleList(Readout(config, joints) for _ in range(config.stacks))
        self.remaps = nn.ModuleList(Remap(config.channels, joints) for _ in range(config.stacks - 1))

    @property
    def bridge_shapes(self) -> BridgeShapes:
        """(channels, side) from the heatmaps' resolution down to the lowest."""
        return tuple((self.config.channels, self.config.heatmap_px >> i) for i in range(self.config.poolings + 1))

    def descend(self, x_in: Tensor) -> Descent:
        """Run the stem and the first hourglass's way down on (B, 3, input_px, input_px)."""
        side = self.config.input_px
        assert x_in.shape[1:] == (3, side, side), (
            f"input {tuple(x_in.shape)} where the net takes (B, 3, {side}, {side})"
        )
        x = self.stem(x_in)
        return Descent(features=self.ways_down[0](x), carried=(x,))

    def ascend(self, descent: Descent, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Run the first way up and all further stacks; see `BridgedPoseNet.ascend`."""
        (x,) = descent.carried
        read, heatmaps = self._finish(0, descent.features, masks)
        stacked = [heatmaps]
        for stack, remap in enumerate(self.remaps, start=1):
            x = remap(x, read, heatmaps)
            read, heatmaps = self._finish(stack, self.ways_down[stack](x), masks)
            stacked.append(heatmaps)
        return torch.stack(stacked, dim=1)

    def _finish(
        self, stack: int, features: tuple[Tensor, ...], masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        return self.readouts[stack](self.ways_up[stack](mask_features(features, masks)))


class WayDown(nn.Module):
    """The first half of an hourglass: one skip branch per resolution, and the neck."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.skips = nn.ModuleList(make_unit(config) for _ in range(config.poolings))
        self.lowers = nn.ModuleList(make_unit(config) for _ in range(config.poolings))
        self.neck = make_unit(config)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) to the bridge features, finest first, neck last."""
        features = []
        for skip, lower in zip(self.skips, self.lowers, strict=True):
            features.append(skip(x))
            x = lower(functional.max_pool2d(x, 2))
        return (*features, self.neck(x))


class WayUp(nn.Module):
    """The second half of an hourglass: double the side and add the skip branch, up to the finest."""

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.units = nn.ModuleList(make_unit(config) for _ in range(config.poolings))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Bridge features, finest first, neck last, to (B, C, H, W)."""
        *skips, y = features
        for unit, skip in zip(self.units, reversed(skips), strict=True):
            y = functional.interpolate(unit(y), scale_factor=2.0, mode="nearest").add_(skip)
        return y


class Readout(nn.Module):
    """The unit after an hourglass, a linear layer, and the heatmaps read from it."""

    def __init__(self, config: PoseNetConfig, joints: int) -> None:
        super().__init__()
        channels = config.channels
        self.linear = nn.Sequential(
            make_unit(config), nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.heatmaps = nn.Conv2d(channels, joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to features of the same shape and (B, J, H, W) heatmaps."""
        read = self.linear(x)
        return read, self.heatmaps(read)


class Remap(nn.Module):
    """Next stack's input: this stack's, plus its features and its heatmaps mapped back onto C channels."""

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 1)
        self.heatmaps = nn.Conv2d(joints, channels, 1)

    def forward(self, x: Tensor, read: Tensor, heatmaps: Tensor) -> Tensor:
        """(B, C, H, W), (B, C, H, W) and (B, J, H, W) to (B, C, H, W)."""
        return self.features(read).add_(self.heatmaps(heatmaps)).add_(x)
