"""A second pose net D, a U-net (Ronneberger et al., MICCAI 2015; [31] of the paper).

What differs from the published net: a stem down to a quarter of the input, as heatmaps have that
size; padded convolutions with BatchNorm, so that skips fit without cropping; and nearest up-sampling
before the convolution of the way up.

A convolution straight before a BatchNorm has no bias, which would have no effect there. ReLUs work in
place on the output of their BatchNorm, which its backward pass does not need; nothing else is in place,
so bridge features stay as they are however often they are ascended from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ray_advpose.nets.blocks import make_stem
from ray_advpose.nets.bridge import BridgedPoseNet, BridgeShapes, Descent, mask_features
from ray_advpose.sections import PoseNetConfig


class UNet(BridgedPoseNet):
    """Encoder and decoder joined by skips, supervised once, at the end.

    The bridge features are the encoder's outputs: at every level but the lowest they are the skips,
    at the lowest they are the neck. They come after a ReLU, so the zeros of an occlusion mask stand
    for "nothing found here". Widths double from level to level.

    Args:
        config: Width of the finest level, number of poolings and input size.
        joints: J, the number of heatmaps.
    """

    def __init__(self, config: PoseNetConfig, joints: int) -> None:
        super().__init__()
        self.config = config
        channels, widths = config.channels, _widths(config)
        self.stem = make_stem(channels)
        self.encoder = nn.ModuleList(double_conv(above, here) for above, here in pairwise((channels, *widths)))
        self.decoder = nn.ModuleList(UpLevel(below, here) for below, here in pairwise(reversed(widths)))
        self.heatmaps = nn.Conv2d(channels, joints, 1)

    @property
    def bridge_shapes(self) -> BridgeShapes:
        """(channels, side) from the heatmaps' resolution down to the lowest."""
        return tuple((width, self.config.heatmap_px >> level) for level, width in enumerate(_widths(self.config)))

    def descend(self, x_in: Tensor) -> Descent:
        """Run stem and encoder on (B, 3, input_px, input_px)."""
        side = self.config.input_px
        assert x_in.shape[1:] == (3, side, side), (
            f"input {tuple(x_in.shape)} where the net takes (B, 3, {side}, {side})"
        )
        features = [self.encoder[0](self.stem(x_in))]
        for level in self.encoder[1:]:
            features.append(level(functional.max_pool2d(features[-1], 2)))
        return Descent(features=tuple(features))

    def ascend(self, descent: Descent, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Run the decoder: (B, 1, J, H, W); see `BridgedPoseNet.ascend`."""
        *skips, y = mask_features(descent.features, masks)
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            y = level(y, skip)
        return self.heatmaps(y).unsqueeze(1)


class UpLevel(nn.Module):
    """One level of the decoder: double the side, narrow to the skip's width, join the skip, double convolution."""

    def __init__(self, channels_below: int, channels: int) -> None:
        super().__init__()
        self.narrow = postactivated(channels_below, channels)
        self.join = double_conv(2 * channels, channels)

    def forward(self, y: Tensor, skip: Tensor) -> Tensor:
        """(B, channels_below, h, w) and a skip (B, channels, 2h, 2w) to the skip's shape."""
        raised = self.narrow(functional.interpolate(y, scale_factor=2.0, mode="nearest"))
        return self.join(torch.cat((skip, raised), dim=1))


def postactivated(channels_in: int, channels_out: int) -> nn.Sequential:
    """Conv3x3-BN-ReLU that keeps height and width."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Conv3x3-BN-ReLU twice, as at every level of a U-net."""
    return nn.Sequential(postactivated(channels_in, channels_out), postactivated(channels_out, channels_out))


def _widths(config: PoseNetConfig) -> tuple[int, ...]:
    """Channels of every level, finest first, neck last."""
    return tuple(config.channels * 2**level for level in range(config.poolings + 1))
