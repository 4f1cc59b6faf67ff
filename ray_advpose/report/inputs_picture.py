"""Images as the networks see them, with their joints: a row for each kind of augmentation."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ray_advpose.pose.skeleton import Skeleton
from ray_advpose.report.skeletons import draw_skeleton, picture_grid
from ray_advpose.training.glimpse import Glimpse
from ray_advpose.training.inputs import PoseInput

_SIDE_PX = 160
_SHADE = 0.35


def inputs_picture(seen: Glimpse, skeleton: Skeleton) -> np.ndarray:
    """Draw random, adversarial and occluded inputs, one row each, one person a column; an RGB picture.

    What G_AHO occludes is dark. Features are occluded, not pixels: the darkness covers what they lie over.
    """
    rows = [_row(seen.random, skeleton)]
    if seen.adversarial is not None:
        rows.append(_row(seen.adversarial, skeleton))
    if seen.visible is not None:
        rows.append(_row(seen.random, skeleton, seen.visible))
    return picture_grid([picture for row in rows for picture in row], columns=len(rows[0]))


def _row(seen: PoseInput, skeleton: Skeleton, visible: torch.Tensor | None = None) -> list[np.ndarray]:
    image = seen.image if visible is None else seen.image * (_SHADE + (1 - _SHADE) * visible)
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    joints_in = torch.where(seen.counted[..., None], seen.joints_in, torch.nan).cpu().numpy()
    zoom = _SIDE_PX / pixels.shape[1]
    return [
        draw_skeleton(
            cv2.resize(picture, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR), joints * zoom, skeleton
        )
        for picture, joints in zip(pixels, joints_in, strict=True)
    ]
