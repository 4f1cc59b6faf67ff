"""Checks on labels that every annotated data set needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import Skeleton


def require_directory(directory: Path) -> None:
    """Raise `UserError` unless ``directory`` is a directory with something in it."""
    if not directory.exists():
        raise UserError(f"source directory {directory} does not exist")
    if not directory.is_dir():
        raise UserError(f"source {directory} is a file, expected a directory")
    if not any(directory.iterdir()):
        raise UserError(f"source directory {directory} is empty")


def require_fraction(name: str, value: float) -> None:
    """Raise `UserError` unless ``value`` is a share, 0 <= value < 1."""
    if not 0 <= value < 1:
        raise UserError(f"{name} = {value}: expected at least 0 and less than 1")


def inside_image(joints_px: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Return (J,) bool: which of the (J, 2) joints lie on an image of that width and height."""
    return np.asarray(((joints_px >= 0) & (joints_px <= size_px)).all(axis=1))


def check_joints(
    joints_px: np.ndarray, annotated: np.ndarray, size_px: tuple[int, int] | None, skeleton: Skeleton, person: str
) -> None:
    """Check that annotated joints could belong to the image.

    A label may miss the image by a little (every data set has some), but by a whole image size
    only if something is wrong with the file.

    Args:
        joints_px: (J, 2) float64 in original-image pixels.
        annotated: (J,) bool.
        size_px: The image's width and height; None where its file is broken, which the cutting
            of canvases reports.
        skeleton: Names the joints.
        person: File and person, for the message.

    Raises:
        UserError: A joint is not finite or further than one image size outside of its image.
    """
    for joint in np.flatnonzero(annotated):
        x, y = joints_px[joint]
        name = skeleton.joints[joint]
        if not (np.isfinite(x) and np.isfinite(y)):
            raise UserError(f"{person}, joint {name}: coordinates ({x}, {y}) are not finite")
        if size_px is None:
            continue
        width, height = size_px
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            raise UserError(
                f"{person}, joint {name}: ({x:.1f}, {y:.1f}) lies far outside the image of {width} x {height} px"
            )
