"""What a score consists of, and the definition it was made under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ray_advpose.pose.skeleton import Skeleton

Metric = Literal["PCKh", "PCK"]

CURVE_THRESHOLDS = np.arange(1, 51) / 100
_NORMALIZERS = {"PCKh": "0.6 x head rectangle's diagonal", "PCK": "left shoulder to right hip"}


@dataclass(frozen=True, eq=False)
class Score:
    """The outcome of one evaluation; every accuracy is in percent, NaN where nothing counts.

    Attributes:
        metric: ``PCKh`` (normalised by the head) or ``PCK`` (by the torso).
        threshold: A joint is correct when distance / normaliser <= threshold.
        skeleton: Joint order and groups.
        relative: (N, J) distance / normaliser, inf where the prediction is not finite, NaN where the joint
            does not count: what everything below is computed from.
        joint_accuracy: (J,) accuracy over the persons whose joint counts.
        joint_counts: (J,) int64 instances counted.
        joint_median_error_px: (J, 2) ``median_error_px`` of each joint.
        groups: Accuracy by row of a result table, the unweighted mean of the row's joints.
        mean_joint: Unweighted mean over the joints that count (the paper's Table 1 by our reading).
        mean_of_groups: Unweighted mean over ``groups``.
        pooled: Accuracy over all counted instances together (the official total).
        strict_threshold: A second, tighter threshold.
        strict_joint_accuracy: (J,) ``joint_accuracy`` there.
        strict_mean_joint: ``mean_joint`` there.
        strict_pooled: ``pooled`` there.
        curve: (50,) ``pooled`` at `CURVE_THRESHOLDS`, 0.01..0.5.
        area: Mean height of the curve, by the trapezoidal rule.
        median_error_px: (2,) median of prediction - truth on x and y, in original-image pixels, over
            counted instances with a finite prediction; a decoder's bias shows here.
        not_finite: Counted instances whose prediction is not finite, and so is wrong.
        persons: Persons scored.
        left_out: (K,) int64 positions of the persons without a usable normaliser.
    """

    metric: Metric
    threshold: float
    skeleton: Skeleton
    relative: np.ndarray
    joint_accuracy: np.ndarray
    joint_counts: np.ndarray
    joint_median_error_px: np.ndarray
    groups: Mapping[str, float]
    mean_joint: float
    mean_of_groups: float
    pooled: float
    strict_threshold: float
    strict_joint_accuracy: np.ndarray
    strict_mean_joint: float
    strict_pooled: float
    curve: np.ndarray
    area: float
    median_error_px: np.ndarray
    not_finite: int
    persons: int
    left_out: np.ndarray

    @property
    def persons_left_out(self) -> int:
        """Number of persons without a usable normaliser."""
        return len(self.left_out)

    @property
    def joints_counted(self) -> int:
        """Number of joints with at least one counted instance: the 14 in ``pooled14``."""
        return int((self.joint_counts > 0).sum())

    @property
    def caption(self) -> str:
        """The definition behind the figures, as a table must state it."""
        heads = dict(self.skeleton.groups)["Head"]
        return (
            f"{self.metric}@{self.threshold:g}: distance <= {self.threshold:g} x ({_NORMALIZERS[self.metric]});"
            f" Head = mean({', '.join(heads)}); {self.joints_counted} joints;"
            f" {self.persons} persons, {self.persons_left_out} left out without a normaliser"
        )

    def joint(self, name: str) -> float:
        """Return the accuracy of one joint, e.g. ``head_top``, which is not the group ``Head``."""
        return float(self.joint_accuracy[self.skeleton.index(name)])
