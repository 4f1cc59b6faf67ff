"""The bridge: what a pose net must offer so that augmentation nets can be trained jointly with it.

The augmentation nets read the features that a pose net hands from its way down to its way up, and
occlusion masks are multiplied onto the same features (Figures 2 and 4). Nothing else of a pose net
is used, so a net that names its bridge features, and runs in two halves around them, can be trained
this way; the stacked hourglass is one such net.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

BridgeShapes = tuple[tuple[int, int], ...]
"""(channels, side) of every bridge feature, finest first, neck last."""


@dataclass(frozen=True)
class Descent:
    """What the way down of a pose net leaves behind.

    It may be ascended from more than once: passes that differ only in their masks share one descent.

    Attributes:
        features: Bridge features f, finest first, neck last, each (B, C, h, w). They carry the
            gradient of the pose net; who feeds an augmentation net detaches them.
        carried: Whatever else the net's own `ascend` needs; of no meaning to others.
    """

    features: tuple[Tensor, ...]
    carried: tuple[Tensor, ...] = ()


class BridgedPoseNet(nn.Module, ABC):
    """A pose net that runs in two halves around its bridge features."""

    @property
    @abstractmethod
    def bridge_shapes(self) -> BridgeShapes:
        """(channels, side) of every bridge feature, finest first, neck last."""

    @abstractmethod
    def descend(self, x_in: Tensor) -> Descent:
        """Run the way down to the bridge features, and nothing beyond it.

        Args:
            x_in: (B, 3, input_px, input_px) network input.
        """

    @abstractmethod
    def ascend(self, descent: Descent, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Run the rest of the net.

        Args:
            descent: What `descend` returned; it is not modified.
            masks: One (B, 1, h, w) factor for each bridge feature, in their order (Section 4.2).
                A net with several stacks applies the same masks in every stack.

        Returns:
            (B, S, J, H, W) heatmaps of every supervised stack.
        """

    def forward(self, x_in: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Run both halves: (B, 3, input_px, input_px) to (B, S, J, H, W) heatmaps."""
        return self.ascend(self.descend(x_in), masks)


def mask_features(features: Sequence[Tensor], masks: Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """Multiply each bridge feature (B, C, h, w) by its mask (B, 1, h, w); no masks, no change."""
    if masks is None:
        return tuple(features)
    assert len(masks) == len(features), f"{len(masks)} masks for {len(features)} bridge features"
    # A mask of side 1, or of a batch of one, would be broadcast instead of refused.
    for feature, mask in zip(features, masks, strict=True):
        expected = (feature.shape[0], 1, *feature.shape[2:])
        assert mask.shape == expected, f"mask {tuple(mask.shape)} where the bridge feature needs {expected}"
    return tuple(feature * mask for feature, mask in zip(features, masks, strict=True))
