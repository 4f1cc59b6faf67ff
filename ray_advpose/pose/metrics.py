"""The share of correct keypoints: scores as pure functions of saved predictions and ground truth.

Several definitions of PCKh are in circulation and differ by more than the gains they are used to
show, so a `Score` carries its own definition with it. Percentages run from 0 to 100.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ray_advpose.errors import UserError, nearest
from ray_advpose.pose.protocols import PCK_THRESHOLDS
from ray_advpose.pose.score import CURVE_THRESHOLDS, Metric, Score
from ray_advpose.pose.skeleton import LSP, MPII, Skeleton


def relative_distances(
    predictions_px: np.ndarray, truth_px: np.ndarray, counted: np.ndarray, normalizer_px: np.ndarray
) -> np.ndarray:
    """Return (N, J) float64 distance / normaliser: what every threshold is compared with.

    Inf where the prediction is not finite (wrong at any threshold), NaN where the joint does not
    count or the person has no positive finite normaliser. Arguments as in `pck`.
    """
    usable = _usable(normalizer_px)
    distance = np.linalg.norm(predictions_px.astype(np.float64) - truth_px, axis=2)
    distance[~np.isfinite(distance)] = np.inf
    relative = distance / np.where(usable, normalizer_px, 1.0)[:, None]
    relative[~(counted & usable[:, None])] = np.nan
    return relative


def pck(
    predictions_px: np.ndarray,
    truth_px: np.ndarray,
    annotated: np.ndarray,
    normalizer_px: np.ndarray,
    skeleton: Skeleton,
    threshold: float,
    *,
    metric: Metric,
    strict_threshold: float = 0.1,
) -> Score:
    """Score predictions under a definition spelled out by the arguments.

    Args:
        predictions_px: (N, J, 2) in original-image pixels; a prediction that is not finite is wrong.
        truth_px: (N, J, 2) likewise.
        annotated: (N, J) bool; only annotated joints count, occluded ones among them.
        normalizer_px: (N,) length that distances are divided by; persons for whom it is not
            positive and finite are left out.
        skeleton: Joint order of predictions and ground truth.
        threshold: Largest distance / normaliser that is correct.
        metric: What ``normalizer_px`` is: of the head or of the torso.
        strict_threshold: The second threshold to report.

    Raises:
        UserError: Shapes that do not fit together or the skeleton, an annotated joint without
            finite ground truth, or nobody left to score.
    """
    predictions_px, truth_px, normalizer_px = map(np.asarray, (predictions_px, truth_px, normalizer_px))
    annotated = np.asarray(annotated, dtype=bool)
    _check(predictions_px, truth_px, annotated, skeleton)
    usable = _usable(normalizer_px)
    if usable.shape != (len(predictions_px),) or not usable.any():
        raise UserError(
            f"normalizer_px has {usable.sum()} positive finite values in shape {usable.shape}, but one for"
            f" each of {len(predictions_px)} persons is needed, and at least one of them usable"
        )
    relative = relative_distances(predictions_px, truth_px, annotated, normalizer_px)
    counted = ~np.isnan(relative)
    joint_accuracy = _joint_accuracy(relative, threshold)
    strict_joint_accuracy = _joint_accuracy(relative, strict_threshold)
    groups = {
        title: _mean(joint_accuracy[[skeleton.index(joint) for joint in joints]]) for title, joints in skeleton.groups
    }
    curve = np.array([_pooled(relative, at) for at in CURVE_THRESHOLDS])
    error_px = predictions_px.astype(np.float64) - truth_px
    finite = np.isfinite(relative)
    return Score(
        metric=metric,
        threshold=threshold,
        skeleton=skeleton,
        relative=relative,
        joint_accuracy=joint_accuracy,
        joint_counts=counted.sum(axis=0),
        joint_median_error_px=np.stack(
            [_median(error_px[finite[:, joint], joint]) for joint in range(finite.shape[1])]
        ),
        groups=groups,
        mean_joint=_mean(joint_accuracy),
        mean_of_groups=_mean(np.array(list(groups.values()))),
        pooled=_pooled(relative, threshold),
        strict_threshold=strict_threshold,
        strict_joint_accuracy=strict_joint_accuracy,
        strict_mean_joint=_mean(strict_joint_accuracy),
        strict_pooled=_pooled(relative, strict_threshold),
        curve=curve,
        area=float(np.trapezoid(curve, CURVE_THRESHOLDS) / (CURVE_THRESHOLDS[-1] - CURVE_THRESHOLDS[0])),
        median_error_px=_median(error_px[finite]),
        not_finite=int((counted & ~finite).sum()),
        persons=int(usable.sum()),
        left_out=np.flatnonzero(~usable),
    )


def torso_px(truth_px: np.ndarray, annotated: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return (N,) distances from left shoulder to right hip, NaN where either is not annotated."""
    ends = [skeleton.index("left_shoulder"), skeleton.index("right_hip")]
    torso = np.linalg.norm(np.diff(truth_px[:, ends].astype(np.float64), axis=1), axis=2)[:, 0]
    return np.where(annotated[:, ends].all(axis=1), torso, np.nan)


def score_mpii(
    predictions_px: np.ndarray, truth_px: np.ndarray, annotated: np.ndarray, head_px: np.ndarray | None
) -> Score:
    """Return PCKh@0.5 on 14 joints: pelvis and thorax never count, occluded joints do.

    Arguments as `pck`; ``head_px`` is (N,) 0.6 x diagonal of the head rectangle, `UserError` if None.
    """
    if head_px is None:
        raise UserError("protocol 'mpii' needs head_px, 0.6 x the diagonal of every person's head rectangle")
    annotated = np.asarray(annotated, dtype=bool)
    _check(np.asarray(predictions_px), np.asarray(truth_px), annotated, MPII)
    counted = annotated & MPII.scored
    return pck(predictions_px, truth_px, counted, head_px, MPII, PCK_THRESHOLDS["mpii"], metric="PCKh")


def score_lsp(predictions_px: np.ndarray, truth_px: np.ndarray, annotated: np.ndarray) -> Score:
    """Return PCK@0.2 of the torso on all 14 joints of every person, occluded or not.

    Arguments as `pck`; `UserError` if a joint is not annotated, as in the LSP test set all are.
    """
    annotated = np.asarray(annotated, dtype=bool)
    _check(np.asarray(predictions_px), np.asarray(truth_px), annotated, LSP)
    missing = np.argwhere(~annotated)
    if len(missing):
        person, joint = missing[0]
        raise UserError(f"protocol 'lsp' counts every joint, but annotated[{person}, {joint}] is False (try 'lspet')")
    return score_lspet(predictions_px, truth_px, annotated)


def score_lspet(predictions_px: np.ndarray, truth_px: np.ndarray, annotated: np.ndarray) -> Score:
    """Return PCK@0.2 of the torso on annotated joints; persons without a torso are left out, counted.

    Arguments as `pck`.
    """
    truth_px, annotated = np.asarray(truth_px), np.asarray(annotated, dtype=bool)
    _check(np.asarray(predictions_px), truth_px, annotated, LSP)
    normalizer_px = torso_px(truth_px, annotated, LSP)
    return pck(predictions_px, truth_px, annotated, normalizer_px, LSP, PCK_THRESHOLDS["lspet"], metric="PCK")


def score(
    protocol: str,
    predictions_px: np.ndarray,
    truth_px: np.ndarray,
    annotated: np.ndarray,
    head_px: np.ndarray | None = None,
) -> Score:
    """Score predictions under a protocol of `PCK_THRESHOLDS`; `UserError` for an unknown one, or as its function.

    ``head_px`` is read by ``mpii`` only; the others take their normaliser from the ground truth.
    """
    match protocol:
        case "mpii":
            return score_mpii(predictions_px, truth_px, annotated, head_px)
        case "lsp":
            return score_lsp(predictions_px, truth_px, annotated)
        case "lspet":
            return score_lspet(predictions_px, truth_px, annotated)
    raise UserError(
        f"unknown protocol {protocol!r}{nearest(protocol, PCK_THRESHOLDS)}, known are {', '.join(PCK_THRESHOLDS)}"
    )


def fraction_correct(
    predictions: Tensor, truth: Tensor, counts: Tensor, normalizer: Tensor, threshold: float
) -> Tensor:
    """Return each person's own share of correct joints, 0..1: PCKh as a reward.

    Args:
        predictions: (B, J, 2) in any space; a prediction that is NaN is wrong.
        truth: (B, J, 2) in the same space.
        counts: (B, J) bool, which joints count.
        normalizer: (B,) in the same space.
        threshold: Largest distance / normaliser that is correct.

    Returns:
        (B,) float32; NaN for a person with no joint that counts or no positive finite normaliser.
    """
    distance = torch.linalg.vector_norm(predictions.float() - truth.float(), dim=2)
    correct = (distance / normalizer[:, None] <= threshold) & counts
    fraction = correct.sum(dim=1) / counts.sum(dim=1)
    return torch.where((normalizer > 0) & normalizer.isfinite(), fraction, torch.nan)


def _usable(normalizer_px: np.ndarray) -> np.ndarray:
    return np.isfinite(normalizer_px) & (normalizer_px > 0)


def _joint_accuracy(relative: np.ndarray, threshold: float) -> np.ndarray:
    return np.array([_pooled(column, threshold) for column in relative.T])


def _pooled(relative: np.ndarray, threshold: float) -> float:
    counted = relative[~np.isnan(relative)]
    return _mean(100.0 * (counted <= threshold))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(error_px: np.ndarray) -> np.ndarray:
    return np.median(error_px, axis=0) if len(error_px) else np.full(2, np.nan)


def _check(predictions_px: np.ndarray, truth_px: np.ndarray, annotated: np.ndarray, skeleton: Skeleton) -> None:
    persons, joints = len(predictions_px), len(skeleton.joints)
    for name, array, wanted in (
        ("predictions_px", predictions_px, (persons, joints, 2)),
        ("truth_px", truth_px, (persons, joints, 2)),
        ("annotated", annotated, (persons, joints)),
    ):
        if array.shape != wanted:
            raise UserError(
                f"{name} has shape {array.shape}, but the {persons} persons of predictions_px and the {joints}"
                f" joints of skeleton {skeleton.name!r} need {wanted}"
            )
    broken = np.argwhere(annotated & ~np.isfinite(truth_px).all(axis=2))
    if len(broken):
        person, joint = broken[0]
        raise UserError(f"truth_px of person {person} is not finite at {skeleton.joints[joint]}, which is annotated")
