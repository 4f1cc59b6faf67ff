"""Where the joints of a synthetic person are: proportions and the kinematic chain.

The frame is the camera's: x to the right, y down, z away from the camera, one unit per standing
height. A person who faces the camera upright has the left hand at +x. A rotation matrix's columns
are a body part's own left, down and back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ray_advpose.data.sources.synthetic_poses import Pose
from ray_advpose.pose.skeleton import LSP

SIDES = ("right", "left")
PARTS = (
    "pelvis",
    "torso",
    "neck",
    "head",
    *(f"{side}_{part}" for side in SIDES for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")),
)


class Figure(NamedTuple):
    """A posed body in standing heights; P parts in the order of `PARTS`.

    Attributes:
        joints: (14, 3) the LSP joints.
        ends: (P, 2, 3) both ends of each part's axis.
        frames: (P, 3, 3) each part's rotation, columns left, down, back.
        semi_axes: (P, 2, 3) of the ellipsoid at either end, along the frame's columns.
    """

    joints: np.ndarray
    ends: np.ndarray
    frames: np.ndarray
    semi_axes: np.ndarray


def pose_figure(pose: Pose, rng: np.random.Generator) -> Figure:
    """Run the kinematic chain of one pose on a body of randomly drawn proportions."""
    neck_to_top, chest, belly, shoulder, hip = np.array([0.195, 0.19, 0.115, 0.108, 0.062]) * rng.normal(1, 0.06, 5)
    upper_arm, forearm, thigh, shin = np.array([0.17, 0.155, 0.245, 0.24]) * rng.normal(1, 0.06, 4)
    build = rng.uniform(0.85, 1.3)
    joints: dict[str, np.ndarray] = {}
    parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...], tuple[float, ...]]] = {}

    roll, tilt, turn = pose.root
    pelvis_frame = _about_z(roll) @ _about_x(tilt) @ _about_y(turn)
    bend, sideways, twist = pose.spine
    chest_frame = pelvis_frame @ _about_x(bend) @ _about_z(sideways) @ _about_y(twist)
    nod, head_tilt, head_turn = pose.head
    head_frame = chest_frame @ _about_x(nod) @ _about_z(head_tilt) @ _about_y(head_turn)

    hips = np.zeros(3)
    waist = hips - belly * pelvis_frame[:, 1]
    neck = waist - chest * chest_frame[:, 1]
    top = neck - neck_to_top * head_frame[:, 1]
    joints |= {"neck": neck, "head_top": top}
    head_axis = top - neck
    wide, deep = 0.094 * build**0.5, 0.058 * build
    parts["pelvis"] = (waist, hips, pelvis_frame, (0.85 * wide, 0.02, deep), (0.95 * wide, 0.045, 1.1 * deep))
    parts["torso"] = (
        neck + 0.15 * (waist - neck),
        waist,
        chest_frame,
        (shoulder, 0.03, deep),
        (0.9 * wide, 0.02, 0.95 * deep),
    )
    parts["neck"] = (neck, neck + 0.4 * head_axis, head_frame, _ball(0.034 * build), _ball(0.03 * build))
    skull = (0.3 * neck_to_top, 0.365 * neck_to_top, 0.33 * neck_to_top)
    centre = neck + 0.635 * head_axis
    parts["head"] = (centre, centre, head_frame, skull, skull)

    for side, sign, arm, leg in zip(SIDES, (-1, 1), pose.arms, pose.legs, strict=True):
        abduct, raise_deg, arm_twist, elbow_deg = arm
        frame = chest_frame @ _about_z(-sign * abduct) @ _about_x(-raise_deg) @ _about_y(sign * arm_twist)
        lower = frame @ _about_x(-elbow_deg)
        start = neck + chest_frame @ np.array([sign * shoulder, 0.025, 0])
        elbow = start + upper_arm * frame[:, 1]
        wrist = elbow + forearm * lower[:, 1]
        joints |= {f"{side}_shoulder": start, f"{side}_elbow": elbow, f"{side}_wrist": wrist}
        parts[f"{side}_upper_arm"] = (start, elbow, frame, _ball(0.036 * build), _ball(0.028 * build))
        parts[f"{side}_forearm"] = (elbow, wrist, lower, _ball(0.028 * build), _ball(0.02 * build))
        parts[f"{side}_hand"] = (wrist, wrist + 0.04 * lower[:, 1], lower, _ball(0.02), _ball(0.024))

        abduct, raise_deg, knee_deg = leg
        frame = pelvis_frame @ _about_z(-sign * abduct) @ _about_x(-raise_deg)
        lower = frame @ _about_x(knee_deg)
        start = hips + sign * hip * pelvis_frame[:, 0]
        knee = start + thigh * frame[:, 1]
        ankle = knee + shin * lower[:, 1]
        joints |= {f"{side}_hip": start, f"{side}_knee": knee, f"{side}_ankle": ankle}
        toe = ankle + lower @ np.array([sign * 0.015, 0.03, -0.075])
        parts[f"{side}_thigh"] = (start, knee, frame, _ball(0.052 * build), _ball(0.037 * build))
        parts[f"{side}_shin"] = (knee, ankle, lower, _ball(0.038 * build), _ball(0.024 * build))
        parts[f"{side}_foot"] = (ankle, toe, lower, _ball(0.027), _ball(0.02))

    rows = [parts[name] for name in PARTS]
    return Figure(
        joints=np.stack([joints[name] for name in LSP.joints]),
        ends=np.array([[start, end] for start, end, *_ in rows]),
        frames=np.array([frame for _, _, frame, *_ in rows]),
        semi_axes=np.array([sizes for *_, sizes_a, sizes_b in rows for sizes in (sizes_a, sizes_b)]).reshape(-1, 2, 3),
    )


def _ball(radius: float) -> tuple[float, float, float]:
    return (radius, radius, radius)


def _about_x(angle_deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle_deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])


def _about_z(angle_deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
