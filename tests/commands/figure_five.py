"""The measured rows of Figure 5 computed anew from a checkpoint: pictures by OpenCV, one at a time, loss in numpy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.pose.skeleton import skeleton_named
from ray_advpose.training.checkpoint import read_config
from ray_advpose.training.restoring import load_networks
from ray_advpose.training.state import make_state


def rotation_losses(checkpoint: Path, shards: ShardSet, images: int, degrees: list[float]) -> list[float]:
    """D's mean loss over evenly spaced validation persons, each turned by each of some angles."""
    config = read_config(checkpoint)
    joints = len(skeleton_named(shards.manifest.skeleton).joints)
    state = make_state(config, joints, torch.device("cpu"))
    load_networks(checkpoint, state)
    pose_net = state.pose_net.eval()
    there = shards.count("val")
    chosen = np.unique(np.round(np.linspace(0, there - 1, min(images, there)))).astype(int)
    persons = read_persons(shards, "val", chosen)
    side, map_side = config.net.input_px, config.net.heatmap_px
    box_px, centre = shards.manifest.canvas.box_px, shards.manifest.canvas.canvas_px / 2
    losses = np.zeros((len(degrees), len(chosen)))
    for row, angle in enumerate(degrees):
        # OpenCV has pixel centres at integers, the canvas has edges there.
        turn = cv2.getRotationMatrix2D((centre - 0.5, centre - 0.5), angle, side / box_px)
        turn[:, 2] += (side - 1) / 2 - (centre - 0.5)
        for column in range(len(chosen)):
            picture = cv2.warpAffine(
                persons.canvas[column].astype(np.float32), turn, (side, side), flags=cv2.INTER_LINEAR
            )
            with torch.no_grad():
                found = pose_net(torch.from_numpy(picture / 255).permute(2, 0, 1)[None].float())[0].double().numpy()
            there_in = (persons.joints_cv[column] - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
            counted = persons.annotated[column] & (there_in >= 0).all(axis=1) & (there_in < side).all(axis=1)
            target = _target(there_in * map_side / side, map_side, config)
            error = ((found - target) ** 2 * (1 + config.loss.foreground_weight * target)).mean(axis=(2, 3)).sum(axis=0)
            losses[row, column] = error[counted].mean() if counted.any() else 0.0
    return losses.mean(axis=1).tolist()


def _target(joints_hm, side, config):
    at = joints_hm if config.loss.decoder == "exact" else np.floor(joints_hm) + 0.5
    centres = np.arange(side) + 0.5
    x, y = (
        np.exp(-((centres - at[:, axis : axis + 1]) ** 2) / (2 * config.loss.target_sigma_px**2)) for axis in (0, 1)
    )
    return y[:, :, None] * x[:, None, :]
