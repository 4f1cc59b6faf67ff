"""Joint orders of the supported data sets, with what mirroring and drawing need to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ray_advpose.errors import UserError, nearest


@dataclass(frozen=True)
class Skeleton:
    """A joint order.

    Attributes:
        name: Name stored in shard manifests and configs.
        joints: Joint names in annotation order (J of them).
        limbs: Pairs of joint names that are joined by a line when drawn.
        groups: Rows of a result table, each the joints that are averaged in it.
        unscored: Joints that never count towards a score, annotated or not.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    unscored: tuple[str, ...] = ()

    def index(self, joint: str) -> int:
        """Return the position of ``joint`` in the annotation order."""
        return self.joints.index(joint)

    @cached_property
    def mirror(self) -> np.ndarray:
        """(J,) int64: ``mirror[j]`` is the joint that j becomes in a mirrored picture."""
        swap = {"right": "left", "left": "right"}

        def other(joint: str) -> str:
            side, _, rest = joint.partition("_")
            return f"{swap[side]}_{rest}" if side in swap else joint

        return np.array([self.index(other(joint)) for joint in self.joints], dtype=np.int64)

    @cached_property
    def scored(self) -> np.ndarray:
        """(J,) bool: whether a joint can count towards a score."""
        return np.array([joint not in self.unscored for joint in self.joints])

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """`limbs` as pairs of joint positions."""
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)


def _sides(part: str) -> tuple[str, str]:
    return (f"right_{part}", f"left_{part}")


_BODY_LIMBS = tuple(
    (f"{side}_{upper}", f"{side}_{lower}")
    for side in ("right", "left")
    for upper, lower in (("ankle", "knee"), ("knee", "hip"), ("wrist", "elbow"), ("elbow", "shoulder"))
)
_BODY_GROUPS = tuple(
    (title, _sides(part))
    for title, part in (
        ("Shoulder", "shoulder"),
        ("Elbow", "elbow"),
        ("Wrist", "wrist"),
        ("Hip", "hip"),
        ("Knee", "knee"),
        ("Ankle", "ankle"),
    )
)

LSP = Skeleton(
    name="lsp",
    joints=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "neck",
        "head_top",
    ),
    limbs=(
        *_BODY_LIMBS,
        ("right_hip", "left_hip"),
        ("right_shoulder", "neck"),
        ("left_shoulder", "neck"),
        ("neck", "head_top"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "left_hip"),
    ),
    groups=(("Head", ("neck", "head_top")), *_BODY_GROUPS),
)

MPII = Skeleton(
    name="mpii",
    joints=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    limbs=(
        *_BODY_LIMBS,
        ("right_hip", "pelvis"),
        ("left_hip", "pelvis"),
        ("pelvis", "thorax"),
        ("thorax", "upper_neck"),
        ("upper_neck", "head_top"),
        ("right_shoulder", "thorax"),
        ("left_shoulder", "thorax"),
    ),
    groups=(("Head", ("upper_neck", "head_top")), *_BODY_GROUPS),
    unscored=("pelvis", "thorax"),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (LSP, MPII)}


def skeleton_named(name: str) -> Skeleton:
    """Return the skeleton called ``name``; `UserError` for an unknown one."""
    if name not in SKELETONS:
        raise UserError(f"unknown skeleton {name!r}{nearest(name, SKELETONS)}")
    return SKELETONS[name]
