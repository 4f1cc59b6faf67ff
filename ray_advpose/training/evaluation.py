"""Predictions of a pose network in original-image pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

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


class Predictions(NamedTuple):
    """What a pose network makes of N persons.

    Attributes:
        joints_px: (N, J, 2) float64 in original-image pixels.
        confidence: (N, J) float32, the heatmaps' peaks, as trained about 1 where a joint is found; 0 to 1,
            and 0 where a joint is not finite.
    """

    joints_px: np.ndarray
    confidence: np.ndarray


@torch.no_grad()
def predict(
    pose_net: BridgedPoseNet, batches: Iterable[EvaluationBatch], task: Task, flip_test: bool = False
) -> Predictions:
    """Predict joints from un-augmented crops.

    Args:
        pose_net: D, put into eval mode for the time being.
        batches: Persons in the order of the result.
        task: Config and data geometry.
        flip_test: Average the heatmaps with those of the mirrored crop.

    Returns:
        Joints and confidence of all persons; NaN joints where a heatmap is not finite.
    """
    device = next(pose_net.parameters()).device
    side = task.config.net.input_px
    mirror = torch.from_numpy(task.skeleton.mirror).to(device)
    found: list[np.ndarray] = []
    peaks: list[np.ndarray] = []
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
            peak = torch.where(joints_in.isfinite().all(dim=2), heatmaps.float().amax(dim=(2, 3)), 0.0)
            peaks.append(peak.clamp(0, 1).cpu().numpy())
    if not found:
        joints = len(task.skeleton.joints)
        return Predictions(np.empty((0, joints, 2)), np.empty((0, joints), np.float32))
    return Predictions(np.concatenate(found), np.concatenate(peaks))
