from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.pose.skeleton import LSP, MPII, Skeleton
from ray_advpose.pose.tilt import torso_tilt_deg

HIPS, SHOULDERS = ("right_hip", "left_hip"), ("right_shoulder", "left_shoulder")


def upright(skeleton: Skeleton) -> np.ndarray:
    joints = np.random.default_rng(0).uniform(-30, 30, (len(skeleton.joints), 2))
    for names, down in ((HIPS, 10.0), (SHOULDERS, -10.0)):
        for name, across in zip(names, (-4.0, 4.0), strict=True):
            joints[skeleton.index(name)] = across, down
    return joints


def turned(joints: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return joints @ np.array([[cos, sin], [-sin, cos]])


@pytest.mark.parametrize("skeleton", [LSP, MPII], ids=lambda skeleton: skeleton.name)
@given(degrees=st.floats(-180, 180), size=st.floats(0.01, 100), shift=st.floats(-1000, 1000))
def test_tilt_is_how_far_an_upright_body_was_turned(skeleton: Skeleton, degrees: float, size: float, shift: float):
    joints = size * turned(upright(skeleton), degrees) + shift
    tilt = torso_tilt_deg(joints[None], np.ones((1, len(joints)), dtype=bool), skeleton)
    assert tilt == pytest.approx(abs(degrees), abs=1e-4)


def test_tilt_is_not_known_without_all_four_corners():
    joints = np.stack([upright(LSP)] * 6)
    joints[5] = 0.0
    annotated = np.ones((6, 14), dtype=bool)
    for person, name in enumerate((*HIPS, *SHOULDERS)):
        annotated[person, LSP.index(name)] = False
    annotated[4, LSP.index("neck")] = False
    assert np.isnan(torso_tilt_deg(joints, annotated, LSP)).tolist() == [True, True, True, True, False, True]
