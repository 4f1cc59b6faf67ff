"""What a synthetic figure covers in the picture: outlines, their order, and the joints they hide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ray_advpose.data.sources.synthetic_figure import PARTS, SIDES, Figure
from ray_advpose.pose.skeleton import LSP

_ANGLES = np.arange(16) * np.pi / 8
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_SHORTEST_AXIS_PX = 1e-3

_IN_FRONT = {"torso": 0.02, "head": 0.03, "pelvis": 0.01, "upper_arm": 0.03, "forearm": 0.03, "hand": 0.04}
"""Standing heights a part is drawn closer than its axis is: clothes lap over what they join."""

_ENDS_AT = {
    "torso": ("neck",),
    "neck": ("neck", "head_top"),
    "head": ("neck", "head_top"),
    # In profile the round of the shoulder covers the neck's joint, yet nobody would call it hidden.
    "upper_arm": ("shoulder", "elbow", "neck"),
    "forearm": ("elbow", "wrist"),
    "hand": ("wrist",),
    "thigh": ("hip", "knee"),
    "shin": ("knee", "ankle"),
    "foot": ("ankle",),
}


def _side_and_kind(name: str) -> tuple[str, str]:
    side, _, kind = name.partition("_")
    return (side, kind) if side in SIDES else ("", name)


def _ends_at(part: str, joint: str) -> bool:
    (part_side, part_kind), (joint_side, joint_kind) = _side_and_kind(part), _side_and_kind(joint)
    return joint_side in ("", part_side) and joint_kind in _ENDS_AT.get(part_kind, ())


_IN_FRONT_OF_PARTS = np.array([_IN_FRONT.get(_side_and_kind(part)[1], 0.0) for part in PARTS])
_OWN = np.array([[_ends_at(part, joint) for joint in LSP.joints] for part in PARTS])
"""(P, J) bool: a part does not hide the joints it ends at."""


class Silhouettes(NamedTuple):
    """P tapered parts as seen by the camera; each has one axis and a half-width at either end.

    Attributes:
        outlines_px: P convex polygons, (K, 2) float32.
        start_px: (P, 2) where the axis starts.
        axis: (P, 2) unit direction of the axis in the picture; across is it turned by +90 degrees.
        length_px: (P,) length of the axis in the picture.
        half_width_px: (P, 2) at the axis's start and end.
        depth_px: (P, 2) of the axis's start and end, away from the camera.
        left: (P, 2) across and towards-the-camera components of the part's own left.
        front: (P, 2) the same of the part's own front.
        frames: (P, 3, 3) rotations, columns left, down, back.
        order: part positions from the farthest to the nearest.
    """

    outlines_px: list[np.ndarray]
    start_px: np.ndarray
    axis: np.ndarray
    length_px: np.ndarray
    half_width_px: np.ndarray
    depth_px: np.ndarray
    left: np.ndarray
    front: np.ndarray
    frames: np.ndarray
    order: np.ndarray


def project(
    ends_px: np.ndarray, frames: np.ndarray, semi_axes_px: np.ndarray, in_front_px: np.ndarray | float = 0.0
) -> Silhouettes:
    """Look at P parts along z, without perspective.

    Args:
        ends_px: (P, 2, 3) both ends of each axis.
        frames: (P, 3, 3) rotations, columns left, down, back.
        semi_axes_px: (P, 2, 3) of the ellipsoid at either end, along the frame's columns.
        in_front_px: (P,) how much closer than its axis a part is drawn.
    """
    flat = frames[:, None, :2, :] * semi_axes_px[:, :, None, :]
    spread = flat @ flat.transpose(0, 1, 3, 2)
    # The shadow of an ellipsoid with semi-axes A is the ellipse {L c : |c| = 1}, L the Cholesky factor of A A'.
    ellipses = np.linalg.cholesky(spread + 1e-6 * np.eye(2)) @ _CIRCLE
    points = (ellipses + ends_px[:, :, :2, None]).transpose(0, 1, 3, 2).reshape(len(frames), -1, 2)
    outlines = [cv2.convexHull(row)[:, 0] for row in points.astype(np.float32)]

    step = ends_px[:, 1, :2] - ends_px[:, 0, :2]
    length = np.linalg.norm(step, axis=1)
    end_on = length < _SHORTEST_AXIS_PX
    length = np.maximum(length, _SHORTEST_AXIS_PX)
    axis = np.where(end_on[:, None], [0.0, 1.0], step / length[:, None])
    across = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    half_width = np.sqrt(np.einsum("pi,peij,pj->pe", across, spread, across))
    left, front = frames[:, :, 0], -frames[:, :, 2]
    depth = ends_px[:, :, 2]
    return Silhouettes(
        outlines_px=outlines,
        start_px=ends_px[:, 0, :2],
        axis=axis,
        length_px=length,
        half_width_px=np.maximum(half_width, 0.5),
        depth_px=depth,
        left=_across_and_near(left, across),
        front=_across_and_near(front, across),
        frames=frames,
        order=np.argsort(in_front_px - depth.mean(axis=1), kind="stable"),
    )


def _across_and_near(direction: np.ndarray, across: np.ndarray) -> np.ndarray:
    seen = np.stack([(direction[:, :2] * across).sum(axis=1), -direction[:, 2]], axis=1)
    return seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-6)


def outline_figure(figure: Figure, height_px: float, origin_px: np.ndarray) -> Silhouettes:
    """Project a figure of ``height_px`` standing height whose hip centre is at ``origin_px`` (2,)."""
    ends_px = figure.ends * height_px + [*origin_px, 0.0]
    return project(ends_px, figure.frames, figure.semi_axes * height_px, _IN_FRONT_OF_PARTS * height_px)


def hidden_by_body(joints_px: np.ndarray, seen: Silhouettes) -> np.ndarray:
    """Return (J,) bool: the joints of (J, 3) ``joints_px`` that a nearer part of the body covers."""
    offset_px = joints_px[None, :, :2] - seen.start_px[:, None]
    share = (offset_px @ seen.axis[:, :, None])[..., 0] / seen.length_px[:, None]
    depth_px = seen.depth_px[:, :1] + np.clip(share, 0, 1) * (seen.depth_px[:, 1:] - seen.depth_px[:, :1])
    behind = joints_px[:, 2] > depth_px + 0.7 * seen.half_width_px.min(axis=1, keepdims=True)
    hidden = np.zeros(len(joints_px), dtype=bool)
    for part, joint in np.argwhere(behind & ~_OWN):
        hidden[joint] = hidden[joint] or _inside(joints_px[joint], seen.outlines_px[part])
    return hidden


def hidden_by_objects(joints_px: np.ndarray, objects_px: Sequence[np.ndarray]) -> np.ndarray:
    """Return (J,) bool: the joints of (J, 2 or 3) ``joints_px`` inside any convex polygon (K, 2)."""
    return np.array([any(_inside(joint, polygon) for polygon in objects_px) for joint in joints_px])


def _inside(point_px: np.ndarray, outline_px: np.ndarray) -> bool:
    return cv2.pointPolygonTest(outline_px, (float(point_px[0]), float(point_px[1])), False) >= 0
