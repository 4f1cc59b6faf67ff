"""From canvases and an augmentation draw to what the pose network sees and should answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_advpose.config import Config
from ray_advpose.pose.geometry import input_from_canvas, inside, mirror_joints, transform_points, warp
from ray_advpose.pose.heatmap import encode
from ray_advpose.training.batch import CanvasBatch, CanvasGeometry
from ray_advpose.training.draws import Augmentation


@dataclass(frozen=True)
class PoseInput:
    """Augmented images with their targets.

    Attributes:
        image: (B, 3, S, S) float32 in 0..1.
        joints_in: (B, J, 2) joints in network-input pixels, left and right swapped where mirrored.
        counted: (B, J) bool, annotated and inside the input: only these enter a loss.
        target: (B, J, H, W) float32 heatmaps, zero where not counted.
        normalizer_in: (B,) length that PCK divides errors by, in network-input pixels; NaN where unknown.
    """

    image: Tensor
    joints_in: Tensor
    counted: Tensor
    target: Tensor
    normalizer_in: Tensor


def augmented(
    batch: CanvasBatch, draw: Augmentation, geometry: CanvasGeometry, mirror: Tensor, config: Config
) -> PoseInput:
    """Warp a batch by one draw; image and joints share it.

    Args:
        batch: Canvases on the device to work on.
        draw: One augmentation an image.
        geometry: Size of the canvases.
        mirror: (J,) int64 left/right partner of every joint.
        config: Input size and heatmap targets.

    Returns:
        Images and targets of the same B.
    """
    side = config.net.input_px
    matrix = input_from_canvas(
        draw.scale, draw.rotation_deg, draw.flip, float(geometry.box_px), geometry.canvas_px, side
    )
    joints_in = mirror_joints(transform_points(matrix, batch.joints_cv), draw.flip, mirror)
    annotated = mirror_joints(batch.annotated, draw.flip, mirror)
    counted = annotated & inside(joints_in, side)
    joints_hm = joints_in * (config.net.heatmap_px / side)
    target = encode(joints_hm, counted, config.net.heatmap_px, config.loss.target_sigma_px, config.loss.decoder)
    return PoseInput(
        image=warp(batch.canvas, matrix, side, draw.color),
        joints_in=joints_in,
        counted=counted,
        target=target,
        normalizer_in=batch.normalizer_cv * side / (geometry.box_px * draw.scale),
    )


def person_losses(heatmaps: Tensor, seen: PoseInput, foreground_weight: float) -> Tensor:
    """Return each person's loss: the one D learns from, and the one adversary and reference compare.

    The squared error, weighted by 1 + w t, is averaged over a joint's heatmap, summed over stacks
    and averaged over the joints that count. A joint warped out of the frame does not count, or
    zooming out of the frame would be rewarded by accident.

    Args:
        heatmaps: (B, S, J, H, W) predictions of every stack.
        seen: Targets and which joints count.
        foreground_weight: w; 0 is the paper's plain MSE.

    Returns:
        (B,) losses; 0 for a person of whom no joint counts.
    """
    target = seen.target[:, None]
    error = (heatmaps - target).square()
    if foreground_weight:
        error = error * (1 + foreground_weight * target)
    joint_loss = error.mean(dim=(3, 4)).sum(dim=1)
    counted = seen.counted.to(joint_loss.dtype)
    return (joint_loss * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)


def entropy(log_probability: Tensor) -> Tensor:
    """Return the (B,) entropies in nats of rows of log-probabilities."""
    return -torch.xlogy(log_probability.exp(), log_probability.exp()).sum(dim=1)
