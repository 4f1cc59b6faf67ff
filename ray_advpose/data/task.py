"""What training needs to know of prepared data, other than its images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ray_advpose.adversary.occlusion import vote_cells
from ray_advpose.config import Config
from ray_advpose.data.checks import check_room
from ray_advpose.data.shards import ShardSet, read_columns
from ray_advpose.pose.geometry import input_from_canvas, inside, transform_points
from ray_advpose.pose.protocols import PCK_THRESHOLDS
from ray_advpose.pose.skeleton import skeleton_named
from ray_advpose.training.batch import CanvasGeometry
from ray_advpose.training.draws import canonical
from ray_advpose.training.pose_step import Task


def task_for(config: Config, shards: ShardSet) -> Task:
    """Return what steps need to know of the data.

    Raises:
        UserError: The canvases have no room for the augmentations the config asks for.
    """
    check_room(config, shards)
    canvas = shards.manifest.canvas
    return Task(
        config,
        CanvasGeometry(canvas.canvas_px, canvas.box_px),
        skeleton_named(shards.manifest.skeleton),
        PCK_THRESHOLDS[shards.manifest.protocol],
    )


def occlusion_target(shards: ShardSet, task: Task) -> Tensor:
    """Return P^o, the ground truth of AHO pre-training (Section 4.2).

    Every annotated joint of every training image votes for a cell of the canonical crop, and the
    votes are normalised over the data set.

    Returns:
        (h * w,) float32.
    """
    return cell_shares(*_training_joints(shards, len(task.skeleton.joints)), task)


def cell_shares(joints_cv: Tensor, annotated: Tensor, task: Task) -> Tensor:
    """Return the (h * w,) shares of cells in the joints, (N, J, 2) with (N, J) flags, of canonical crops."""
    count, side = len(joints_cv), task.config.net.input_px
    still = canonical(count, torch.device("cpu"))
    matrix = input_from_canvas(
        still.scale, still.rotation_deg, still.flip, float(task.geometry.box_px), task.geometry.canvas_px, side
    )
    joints_in = transform_points(matrix, joints_cv)
    grid = (task.config.aho.grid_height, task.config.aho.grid_width)
    votes = vote_cells(joints_in, annotated & inside(joints_in, side), side, grid)
    return (votes / votes.sum()).float()


def _training_joints(shards: ShardSet, joints: int) -> tuple[Tensor, Tensor]:
    """Read (N, J, 2) joints and (N, J) annotated flags of the training split, but no image."""
    points, flags = [], []
    for table in read_columns(shards, "train", ["joints_cv", "annotated"]):
        points.append(_flat(table, "joints_cv").reshape(-1, joints, 2))
        flags.append(_flat(table, "annotated").reshape(-1, joints))
    return torch.tensor(np.concatenate(points)), torch.tensor(np.concatenate(flags))


def _flat(table, name: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    values: np.ndarray = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values
