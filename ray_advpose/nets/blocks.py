"""The two blocks of Section 5.1, residual and dense, and the units that networks are built of.

Every convolution keeps its bias, as in the original stacked hourglass, by which the paper's sizes
are counted. A bias straight before a BatchNorm has no effect (0.2 % of the parameters, and no time
that could be measured). One at the end of a block has: it enters the bridge features, where it
decides what the zeros of an occlusion mask stand for.

ReLUs work in place on the output of their BatchNorm, which its backward pass does not need, and sums
are made in place in the output of a convolution, which likewise is not needed again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ray_advpose.sections import PoseNetConfig

_BOTTLENECK = 4  # width of a dense layer's 1x1 convolution over its growth: "neck size 4"


def preactivated(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """BN-ReLU-Conv of stride 1 that keeps height and width."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2),
    )


class Residual(nn.Module):
    """Pre-activated bottleneck: 1x1 to half the output width, 3x3, 1x1 to the output width, plus the input.

    Where the widths differ, a 1x1 convolution projects the input of the sum.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.branch = nn.Sequential(
            preactivated(channels_in, half, 1), preactivated(half, half, 3), preactivated(half, channels_out, 1)
        )
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, h, w) to (B, channels_out, h, w)."""
        return self.branch(x).add_(self.skip(x))


class DenseBlock(nn.Module):
    """Densely connected layers, each adding ``growth`` channels, then BN-ReLU-Conv1x1 back to the width."""

    def __init__(self, channels: int, layers: int, growth: int) -> None:
        super().__init__()
        neck = _BOTTLENECK * growth
        self.layers = nn.ModuleList(
            nn.Sequential(preactivated(channels + i * growth, neck, 1), preactivated(neck, growth, 3))
            for i in range(layers)
        )
        self.reduce = preactivated(channels + layers * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return self.reduce(x)


def make_block(config: PoseNetConfig, channels: int) -> nn.Module:
    """One block of ``config``'s kind that keeps its width of ``channels``."""
    if config.block == "residual":
        return Residual(channels, channels)
    return DenseBlock(channels, config.dense_layers, config.dense_growth)


def make_unit(config: PoseNetConfig) -> nn.Sequential:
    """``config.blocks_per_unit`` blocks of the pose net's kind and width in a row."""
    return nn.Sequential(*(make_block(config, config.channels) for _ in range(config.blocks_per_unit)))


def make_stem(channels: int) -> nn.Sequential:
    """Network input to a feature map of a quarter of its side, ``channels`` wide.

    Every pose net has this residual stem: a dense block cannot change the width, as a stem has to.
    """
    quarter, half = channels // 4, channels // 2
    return nn.Sequential(
        nn.Conv2d(3, quarter, 7, stride=2, padding=3),
        nn.BatchNorm2d(quarter),
        nn.ReLU(inplace=True),
        Residual(quarter, half),
        nn.MaxPool2d(2),
        Residual(half, half),
        Residual(half, channels),
    )
