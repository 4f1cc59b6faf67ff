"""How joint angles of synthetic people are distributed: a bulk of upright poses and a long tail."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Pose(NamedTuple):
    """Joint angles in degrees; rows of ``arms`` and ``legs`` are right, left.

    Attributes:
        root: (3,) roll in the picture, tilt towards the camera, turn about the body's axis.
        spine: (3,) forward bend, sideways bend, twist of the chest against the pelvis.
        head: (3,) forward nod, sideways tilt, turn against the chest.
        arms: (2, 4) sideways raise, forward raise, twist about the upper arm, elbow.
        legs: (2, 3) sideways raise, forward raise, knee.
    """

    root: np.ndarray
    spine: np.ndarray
    head: np.ndarray
    arms: np.ndarray
    legs: np.ndarray


class Family(NamedTuple):
    """A kind of pose: (mean, standard deviation) in degrees for each angle.

    ``swing`` moves the two sides in opposite phase (walking), ``together`` is the share of the
    variance that both sides have in common.
    """

    name: str
    share: float
    roll: tuple[float, float]
    bend: tuple[float, float]
    arms: tuple[tuple[float, float], ...]
    legs: tuple[tuple[float, float], ...]
    swing: float = 0.0
    together: float = 0.3


BULK = (
    Family(
        "standing",
        0.32,
        roll=(0, 7),
        bend=(3, 5),
        arms=((10, 8), (5, 14), (0, 25), (18, 16)),
        legs=((5, 4), (3, 7), (6, 7)),
    ),
    Family(
        "walking",
        0.28,
        roll=(0, 7),
        bend=(8, 7),
        arms=((9, 7), (8, 12), (0, 20), (45, 30)),
        legs=((3, 4), (12, 10), (28, 18)),
        swing=30,
    ),
    Family(
        "gesturing",
        0.22,
        roll=(0, 7),
        bend=(4, 8),
        arms=((45, 35), (35, 45), (0, 60), (60, 45)),
        legs=((8, 6), (6, 12), (12, 12)),
    ),
)
TAIL = (
    Family(
        "crouching",
        0.03,
        roll=(0, 10),
        bend=(35, 15),
        arms=((20, 20), (50, 30), (0, 30), (50, 35)),
        legs=((18, 12), (95, 18), (115, 18)),
        together=0.8,
    ),
    Family(
        "arms raised",
        0.035,
        roll=(0, 12),
        bend=(-3, 8),
        arms=((155, 20), (10, 20), (0, 40), (20, 22)),
        legs=((12, 9), (6, 12), (12, 14)),
        together=0.7,
    ),
    Family(
        "bending",
        0.03,
        roll=(0, 10),
        bend=(75, 20),
        arms=((15, 15), (65, 30), (0, 30), (20, 22)),
        legs=((7, 6), (15, 12), (14, 12)),
        together=0.7,
    ),
    Family(
        "handstand",
        0.02,
        roll=(180, 22),
        bend=(-5, 10),
        arms=((165, 10), (5, 10), (0, 20), (8, 8)),
        legs=((12, 14), (5, 25), (20, 22)),
        swing=20,
        together=0.5,
    ),
    Family(
        "lying",
        0.025,
        roll=(90, 16),
        bend=(6, 12),
        arms=((45, 45), (20, 35), (0, 50), (35, 35)),
        legs=((10, 10), (25, 28), (35, 30)),
    ),
    Family(
        "cartwheel",
        0.02,
        roll=(100, 60),
        bend=(0, 10),
        arms=((145, 18), (0, 15), (0, 20), (8, 8)),
        legs=((45, 14), (5, 15), (10, 10)),
        together=0.7,
    ),
    Family(
        "kicking",
        0.02,
        roll=(0, 18),
        bend=(8, 14),
        arms=((60, 35), (20, 40), (0, 50), (45, 35)),
        legs=((20, 20), (35, 30), (30, 26)),
        swing=45,
    ),
)
_SHARES = np.cumsum([family.share for family in BULK + TAIL])
_ANY_ROLL_SHARE, _TILTED_SHARE, _TILTED_DEG = 0.04, 0.12, 35.0
_FRONT_SHARE, _BACK_SHARE = 0.5, 0.25
_SHARPEST_FOLD_DEG = 145.0


def sample_family(rng: np.random.Generator) -> Family:
    """Draw a pose family by its share."""
    return (BULK + TAIL)[int(np.searchsorted(_SHARES, rng.random() * _SHARES[-1], side="right"))]


def sample_pose(family: Family, rng: np.random.Generator) -> Pose:
    """Draw joint angles of a family and the direction the person faces."""
    roll = rng.normal(*family.roll) * (1 if rng.random() < 0.5 else -1)
    unusual = rng.random()
    if unusual < _ANY_ROLL_SHARE:
        roll = rng.uniform(-180, 180)
    elif unusual < _ANY_ROLL_SHARE + _TILTED_SHARE:
        roll += rng.normal(0, _TILTED_DEG)
    view = rng.random()
    if view < _FRONT_SHARE:
        turn = rng.normal(0, 25)
    elif view < _FRONT_SHARE + _BACK_SHARE:
        turn = rng.normal(180, 25)
    else:
        turn = rng.uniform(-180, 180)
    swing = family.swing * rng.uniform(-1, 1) * np.array([1.0, -1.0])
    arms = _both_sides(family.arms, family.together, rng)
    legs = _both_sides(family.legs, family.together, rng)
    arms[:, 1] -= swing
    legs[:, 1] += swing
    legs[:, 2] += np.maximum(-swing, 0)
    arms[:, 3] = np.clip(arms[:, 3], 0, _SHARPEST_FOLD_DEG)
    legs[:, 2] = np.clip(legs[:, 2], 0, _SHARPEST_FOLD_DEG)
    return Pose(
        root=np.array([roll, rng.normal(0, 8), turn]),
        spine=np.array([rng.normal(*family.bend), rng.normal(0, 6), rng.normal(0, 9)]),
        head=rng.normal(0, (10, 8, 18)),
        arms=arms,
        legs=legs,
    )


def _both_sides(angles: tuple[tuple[float, float], ...], together: float, rng: np.random.Generator) -> np.ndarray:
    mean, deviation = np.array(angles, dtype=np.float64).T
    noise = math.sqrt(together) * rng.normal(size=(1, len(mean)))
    noise = noise + math.sqrt(1 - together) * rng.normal(size=(2, len(mean)))
    return mean + deviation * noise
