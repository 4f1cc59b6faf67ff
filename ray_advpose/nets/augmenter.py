"""The augmentation nets G: bridge features in, distributions over augmentations out (Section 4).

Both follow the way down of an hourglass with one block per resolution. They read the bridge features
of a pose net and nothing else. Who calls them detaches the features: only then does no gradient
reach the pose net, and the caller knows which of its passes carry one.

The last layer of every head starts at zero, so that an untrained net predicts the uniform
distribution for every image. A random start would favour some bins or cells for no reason, and the
favoured ones would be drawn, and hence rewarded or penalised, first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from ray_advpose.nets.blocks import make_block
from ray_advpose.nets.bridge import BridgeShapes
from ray_advpose.sections import AhoConfig, AsrConfig, PoseNetConfig


class AsrNet(nn.Module):
    """G_ASR: distributions over scale and rotation bins (Section 4.1).

    Args:
        bridge_shapes: (channels, side) of the pose net's bridge features.
        net: Kind of block, and the width unless ``channels`` is given.
        asr: Numbers of bins.
        channels: Width of this net.
    """

    def __init__(
        self, bridge_shapes: BridgeShapes, net: PoseNetConfig, asr: AsrConfig, channels: int | None = None
    ) -> None:
        super().__init__()
        channels = net.channels if channels is None else channels
        self.encoder = BridgeEncoder(bridge_shapes, net, channels)
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.scale = nn.Linear(channels, asr.scale_bins)
        self.rotation = nn.Linear(channels, asr.rotation_bins)
        _start_uniform(self.scale)
        _start_uniform(self.rotation)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict P^s and P^r.

        Args:
            features: Bridge features (B, C, h, w), finest first, detached.

        Returns:
            Log-probabilities of the scale bins (B, M) and of the rotation bins (B, N).
        """
        pooled = self.activate(self.encoder(features)).mean(dim=(2, 3))
        return functional.log_softmax(self.scale(pooled), 1), functional.log_softmax(self.rotation(pooled), 1)


class AhoNet(nn.Module):
    """G_AHO: a distribution over the cells of the occlusion grid (Section 4.2).

    The grid is read from the lowest map that is at least as fine as it, and the way down ends there:
    a 4 x 4 grid from the 4 x 4 map of the paper's net, but from the 6 x 6 map of one whose lowest map
    is 3 x 3. A map finer than the grid is averaged over each cell.

    Args:
        bridge_shapes: (channels, side) of the pose net's bridge features.
        net: Kind of block, and the width unless ``channels`` is given.
        aho: Size of the grid.
        channels: Width of this net.

    Attributes:
        grid: (height, width) of the grid in cells.
        head_side: Side of the feature map that the grid is read from.
    """

    def __init__(
        self, bridge_shapes: BridgeShapes, net: PoseNetConfig, aho: AhoConfig, channels: int | None = None
    ) -> None:
        super().__init__()
        channels = net.channels if channels is None else channels
        self.grid = (aho.grid_height, aho.grid_width)
        read = tuple(shape for shape in bridge_shapes if shape[1] >= max(self.grid))
        assert read, f"a grid of {self.grid} cells is finer than every bridge feature of {bridge_shapes}"
        self.head_side = read[-1][1]
        self.encoder = BridgeEncoder(read, net, channels)
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.cells = nn.Conv2d(channels, 1, 1)
        _start_uniform(self.cells)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Predict P^o.

        Args:
            features: Bridge features (B, C, h, w), finest first, detached.

        Returns:
            (B, h * w) log-probabilities of the grid's cells, row by row.
        """
        cells = self.cells(self.activate(self.encoder(features[: len(self.encoder.blocks)])))
        if cells.shape[2:] != self.grid:
            cells = functional.adaptive_avg_pool2d(cells, self.grid)
        return functional.log_softmax(cells.flatten(1), 1)


class BridgeEncoder(nn.Module):
    """The way down of an hourglass with one block per resolution, fed by bridge features.

    At every resolution the bridge feature is added to what came down, after a 1x1 projection where
    its width is not this net's.
    """

    def __init__(self, bridge_shapes: BridgeShapes, net: PoseNetConfig, channels: int) -> None:
        super().__init__()
        sides = [side for _, side in bridge_shapes]
        assert all(fine % coarse == 0 for fine, coarse in pairwise(sides)), f"sides {sides} do not divide in turn"
        self.poolings = tuple(fine // coarse for fine, coarse in pairwise(sides))
        self.projections = nn.ModuleList(
            nn.Identity() if width == channels else nn.Conv2d(width, channels, 1) for width, _ in bridge_shapes
        )
        self.blocks = nn.ModuleList(make_block(net, channels) for _ in bridge_shapes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Bridge features (B, C, h, w), finest first, to (B, channels, h, w) at the lowest side."""
        finest, *lower = (project(f) for project, f in zip(self.projections, features, strict=True))
        x = self.blocks[0](finest)
        for feature, block, factor in zip(lower, self.blocks[1:], self.poolings, strict=True):
            x = block(functional.max_pool2d(x, factor).add_(feature))
        return x


def _start_uniform(head: nn.Linear | nn.Conv2d) -> None:
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
