"""Pictures of predicted skeletons that a person can look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ray_advpose.pose.skeleton import Skeleton

# Orange for the person's right, blue for the left, grey between: told apart by colour-blind eyes too.
_RIGHT, _LEFT, _MIDDLE = (230, 120, 0), (0, 130, 255), (190, 190, 190)
_TRUTH = (255, 255, 255)


def draw_skeleton(
    picture: np.ndarray, joints: np.ndarray, skeleton: Skeleton, truth: np.ndarray | None = None
) -> np.ndarray:
    """Return a copy of a picture with a skeleton on it.

    Args:
        picture: (H, W, 3) uint8 RGB.
        joints: (J, 2) predicted joints in the picture's pixels; what is not finite is left out.
        skeleton: Joint order and limbs.
        truth: (J, 2) annotated joints as small white crosses, NaN where not annotated.
    """
    drawn = picture.copy()
    thickness = max(1, picture.shape[0] // 110)
    for first, second in skeleton.limb_indices:
        if np.isfinite(joints[[first, second]]).all():
            color = _color(skeleton.joints[first], skeleton.joints[second])
            cv2.line(drawn, _pixel(joints[first]), _pixel(joints[second]), color, thickness, cv2.LINE_AA)
    for name, joint in zip(skeleton.joints, joints, strict=True):
        if np.isfinite(joint).all():
            cv2.circle(drawn, _pixel(joint), thickness + 1, _color(name, name), -1, cv2.LINE_AA)
    if truth is not None:
        for joint in truth[np.isfinite(truth).all(axis=1)]:
            cv2.drawMarker(drawn, _pixel(joint), _TRUTH, cv2.MARKER_TILTED_CROSS, 3 * thickness + 2, 1, cv2.LINE_AA)
    return drawn


def draw_skeletons(picture: np.ndarray, joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return a copy of a picture with the skeletons of some persons on it.

    Args:
        picture: (H, W, 3) uint8 RGB.
        joints: (P, J, 2) joints in the picture's pixels.
        skeleton: Joint order and limbs.
    """
    drawn = np.ascontiguousarray(picture)
    for person in joints:
        drawn = draw_skeleton(drawn, person, skeleton)
    return drawn


def picture_grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Return pictures of one size side by side, row by row, with a dark line between them."""
    side = pictures[0].shape[0]
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * (side + 2) - 2, columns * (side + 2) - 2, 3), 32, np.uint8)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        grid[row * (side + 2) : row * (side + 2) + side, column * (side + 2) : column * (side + 2) + side] = picture
    return grid


def _color(first: str, second: str) -> tuple[int, int, int]:
    if first.startswith("right") and second.startswith("right"):
        return _RIGHT
    if first.startswith("left") and second.startswith("left"):
        return _LEFT
    return _MIDDLE


def _pixel(joint: np.ndarray) -> tuple[int, int]:
    return int(np.floor(joint[0])), int(np.floor(joint[1]))
