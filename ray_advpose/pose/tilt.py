"""How a body lies in the picture: the long tail of pose data sets that rotating is for."""

from __future__ import annotations

import numpy as np

from ray_advpose.pose.skeleton import Skeleton

_ENDS = (("right_hip", "left_hip"), ("right_shoulder", "left_shoulder"))


def torso_tilt_deg(joints_px: np.ndarray, annotated: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the angle between each torso and the vertical of its picture.

    The torso points from the middle of the hips to the middle of the shoulders.

    Args:
        joints_px: (N, J, 2) coordinates, y pointing down.
        annotated: (N, J) bool.
        skeleton: Joint order.

    Returns:
        (N,) degrees: 0 upright, 90 lying to either side, 180 head down; NaN where a hip or a shoulder is not
        annotated, or the two middles are one point.
    """
    places = [[skeleton.index(joint) for joint in pair] for pair in _ENDS]
    hips, shoulders = (joints_px[:, pair].mean(axis=1) for pair in places)
    across, down = (shoulders - hips).T
    known = annotated[:, places[0] + places[1]].all(axis=1) & (np.hypot(across, down) > 0)
    tilt: np.ndarray = np.where(known, np.abs(np.degrees(np.arctan2(across, -down))), np.nan)
    return tilt
