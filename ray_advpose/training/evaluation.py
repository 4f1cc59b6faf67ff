"""Predictions of a pose network in original-image pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.pose.geometry import input_from_canvas, invert, transform_points, warp
from ray_advpose.pose.heatmap import decode, flip_average
from ray_advpose.training.draws import canonical
from ray_advpose.training.modes import evaluating
from ray_advpose.training.pose_step import Task


@dataclass(frozen=True)
class EvaluationBatch:
    """Persons to predict.

    Attributes:
        canvas: (B, H, W, 3) uint8 RGB.
        image_from_canvas: (B, 2, 3) float64, canvas pixels to original-image pixels.
    """

    canvas: Tensor
    image_from_canvas: Tensor


@torch.no_grad()
def predict(
    pose_net: BridgedPoseNet, batches: Iterable[EvaluationBatch], task: Task, flip_test: bool = False
) -> np.ndarray:
    """Predict joints from un-augmented crops.

    Args:
        pose_net: D, put into eval mode for the time being.
        batches: Persons in the order of the result.
        task: Config and data geometry.
        flip_test: Average the heatmaps with those of the mirrored crop.

    Returns:
        (N, J, 2) float64 joints in original-image pixels.
    """
    device = next(pose_net.parameters()).device
    side = task.config.net.input_px
    mirror = torch.from_numpy(task.skeleton.mirror).to(device)
    found: list[np.ndarray] = []
    with evaluating(pose_net):
        for batch in batches:
            still = canonical(len(batch.canvas), device)
            matrix = input_from_canvas(
                still.scale, still.rotation_deg, still.flip, float(task.geometry.box_px), task.geometry.canvas_px, side
            )
            image = warp(batch.canvas.to(device), matrix, side, None)
            heatmaps = pose_net(image)[:, -1]
            if flip_test:
                heatmaps = flip_average(heatmaps, pose_net(image.flip(-1))[:, -1], mirror)
            joints_in = decode(heatmaps, task.config.loss.decoder) * (side / task.config.net.heatmap_px)
            joints_cv = transform_points(invert(matrix), joints_in)
            joints_px = transform_points(batch.image_from_canvas, joints_cv.cpu().double())
            found.append(joints_px.numpy())
    joints = len(task.skeleton.joints)
    return np.concatenate(found) if found else np.empty((0, joints, 2))
