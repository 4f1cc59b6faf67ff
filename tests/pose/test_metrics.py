"""Scores against hand-counted cases, against published figures, and under what must not matter."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat

from ray_advpose.errors import UserError
from ray_advpose.pose import metrics
from ray_advpose.pose.skeleton import LSP, MPII

seeds = st.integers(0, 2**32 - 1)


def people(count, joints=14, seed=0, error_px=10.0):
    rng = np.random.default_rng(seed)
    truth_px = rng.uniform(0, 200, (count, joints, 2))
    predictions_px = truth_px + rng.normal(0, error_px, truth_px.shape)
    return predictions_px, truth_px, rng.random((count, joints)) < 0.8


def with_torso(count, torso_px):
    """Return (count, 14, 2) LSP joints at the origin but for a torso of known length."""
    truth_px = np.zeros((count, 14, 2))
    truth_px[:, LSP.index("left_shoulder"), 1] = torso_px
    return truth_px


def test_a_hand_counted_score():
    truth_px = with_torso(2, 100.0)
    predictions_px = truth_px.copy()
    predictions_px[0, LSP.index("left_knee"), 0] += 20.0  # exactly 0.2: correct
    predictions_px[0, LSP.index("right_wrist"), 0] += 20.1
    predictions_px[1, LSP.index("right_wrist")] = np.nan
    predictions_px[1, LSP.index("head_top"), 1] -= 30.0
    score = metrics.score_lsp(predictions_px, truth_px, np.ones((2, 14), dtype=bool))
    assert score.joint("left_knee") == 100
    assert score.joint("right_wrist") == 0
    assert score.groups["Wrist"] == 50
    assert score.joint("head_top") == 50
    assert score.groups["Head"] == 75
    assert score.pooled == pytest.approx(100 * 25 / 28)
    assert score.mean_joint == pytest.approx(score.pooled)
    assert score.mean_of_groups == pytest.approx((75 + 50 + 5 * 100) / 7)
    assert score.strict_pooled == pytest.approx(100 * 24 / 28)
    assert score.joint_counts.tolist() == [2] * 14
    assert (score.persons, score.persons_left_out) == (2, 0)
    assert score.median_error_px.tolist() == [0, 0]
    assert score.strict_joint_accuracy[LSP.index("left_knee")] == 50
    assert score.strict_mean_joint == pytest.approx(score.strict_pooled)
    assert score.joint_median_error_px[LSP.index("left_knee")].tolist() == [10, 0]
    assert score.joint_median_error_px[LSP.index("right_wrist")].tolist() == pytest.approx([20.1, 0])
    assert score.joint_median_error_px[LSP.index("head_top")].tolist() == [0, -15]
    assert score.not_finite == 1
    assert "PCK@0.2: distance <= 0.2 x" in score.caption
    assert "14 joints; 2 persons, 0 left out" in score.caption


def test_persons_without_a_torso_are_left_out_and_counted():
    truth_px = with_torso(4, 50.0)
    truth_px[2] = 0
    annotated = np.ones((4, 14), dtype=bool)
    annotated[1, LSP.index("right_hip")] = False
    annotated[3, LSP.index("left_ankle")] = False
    truth_px[3, LSP.index("left_ankle")] = np.nan
    score = metrics.score_lspet(truth_px + 1.0, truth_px, annotated)
    assert (score.persons, score.persons_left_out) == (2, 2)
    assert score.left_out.tolist() == [1, 2]
    assert score.joint_counts[LSP.index("left_ankle")] == 1
    assert score.joint_counts.sum() == 27
    assert score.pooled == 100
    assert score.median_error_px.tolist() == [1, 1]
    with pytest.raises(UserError, match=r"annotated\[1, 2\] is False"):
        metrics.score_lsp(truth_px, truth_px, annotated)


def test_a_joint_nobody_has_is_nan_and_stays_out_of_the_means():
    truth_px = with_torso(1, 50.0)
    annotated = np.ones((1, 14), dtype=bool)
    annotated[:, [LSP.index("left_wrist"), LSP.index("right_wrist")]] = False
    score = metrics.score_lspet(truth_px, truth_px, annotated)
    assert np.isnan(score.joint("left_wrist"))
    assert np.isnan(score.strict_joint_accuracy[LSP.index("left_wrist")])
    assert np.isnan(score.joint_median_error_px[LSP.index("left_wrist")]).all()
    assert np.isnan(score.groups["Wrist"])
    assert score.mean_joint == score.mean_of_groups == 100
    assert score.joints_counted == 12


@given(seeds)
def test_accuracy_never_falls_as_the_threshold_grows(seed):
    predictions_px, truth_px, annotated = people(20, seed=seed)
    torso_px = np.full(20, 60.0)
    scores = [
        metrics.pck(predictions_px, truth_px, annotated, torso_px, LSP, at, metric="PCK") for at in (0.05, 0.2, 0.5)
    ]
    assert scores[0].pooled <= scores[1].pooled <= scores[2].pooled
    assert (np.diff([score.joint_accuracy for score in scores], axis=0) >= 0).all()
    assert (np.diff(scores[0].curve) >= 0).all()
    assert scores[0].curve[[4, 19, 49]].tolist() == [score.pooled for score in scores]
    assert scores[0].curve[0] <= scores[0].area <= scores[0].curve[-1]


@given(seeds)
def test_the_order_of_persons_does_not_matter(seed):
    predictions_px, truth_px, annotated = people(15, joints=16, seed=seed)
    head_px = np.random.default_rng(seed).uniform(10, 60, 15)
    order = np.random.default_rng(seed + 1).permutation(15)
    first = metrics.score_mpii(predictions_px, truth_px, annotated, head_px)
    second = metrics.score_mpii(predictions_px[order], truth_px[order], annotated[order], head_px[order])
    assert first.pooled == second.pooled
    np.testing.assert_array_equal(first.joint_accuracy, second.joint_accuracy)


@given(seeds)
def test_per_person_fractions_add_up_to_the_pooled_score(seed):
    predictions_px, truth_px, annotated = people(12, seed=seed)
    annotated[:, 0] = True
    normalizer_px = np.random.default_rng(seed).uniform(20, 80, 12)
    pooled = metrics.pck(predictions_px, truth_px, annotated, normalizer_px, LSP, 0.2, metric="PCK").pooled
    fractions = metrics.fraction_correct(
        *map(torch.from_numpy, (predictions_px, truth_px, annotated, normalizer_px)), 0.2
    )
    assert 100 * (fractions.numpy() * annotated.sum(1)).sum() / annotated.sum() == pytest.approx(pooled, abs=1e-3)


def test_fraction_correct_by_hand():
    truth = torch.zeros(4, 4, 2)
    predictions = torch.zeros(4, 4, 2)
    predictions[0, 0, 0] = 5.0  # exactly at the threshold
    predictions[0, 1, 0] = 5.1
    predictions[0, 2] = torch.nan
    predictions[0, 3, 0] = 100.0
    counts = torch.ones(4, 4, dtype=torch.bool)
    counts[0, 3] = False
    counts[1] = False
    normalizer = torch.tensor([10.0, 10.0, 0.0, torch.nan])
    fraction = metrics.fraction_correct(predictions, truth, counts, normalizer, 0.5)
    assert fraction[0] == pytest.approx(1 / 3)
    assert fraction[1:].isnan().all()


def test_relative_distances_tell_wrong_from_not_counted():
    truth_px = np.zeros((3, 14, 2))
    predictions_px = np.full((3, 14, 2), [3.0, 4.0])
    predictions_px[0, 0] = np.nan
    counted = np.ones((3, 14), dtype=bool)
    counted[0, 1] = False
    relative = metrics.relative_distances(predictions_px, truth_px, counted, np.array([10.0, np.nan, -1.0]))
    assert relative[0, 0] == np.inf
    assert np.isnan(relative[0, 1])
    assert (relative[0, 2:] == 0.5).all()
    assert np.isnan(relative[1:]).all()


def test_mistakes_are_named():
    predictions_px, truth_px, annotated = people(5, joints=16)
    head_px = np.full(5, 20.0)
    with pytest.raises(UserError, match=r"truth_px has shape \(4, 16, 2\), but the 5 persons"):
        metrics.score("mpii", predictions_px, truth_px[:4], annotated, head_px)
    with pytest.raises(UserError, match=r"predictions_px has shape \(5, 16, 2\).*14 joints of skeleton 'lsp'"):
        metrics.score("lspet", predictions_px, truth_px, annotated)
    with pytest.raises(UserError, match="annotated has shape"):
        metrics.score("mpii", predictions_px, truth_px, annotated[:, :14], head_px)
    with pytest.raises(UserError, match=r"in shape \(3,\), but one for each of 5 persons"):
        metrics.score("mpii", predictions_px, truth_px, annotated, head_px[:3])
    with pytest.raises(UserError, match="at least one of them usable"):
        metrics.score("mpii", predictions_px, truth_px, annotated, np.full(5, np.nan))
    with pytest.raises(UserError, match="needs head_px"):
        metrics.score("mpii", predictions_px, truth_px, annotated)
    with pytest.raises(UserError, match=r"unknown protocol 'mpi' \(did you mean 'mpii'\?\)"):
        metrics.score("mpi", predictions_px, truth_px, annotated, head_px)
    truth_px[3, 2] = np.nan
    annotated[3, 2] = True
    with pytest.raises(UserError, match="truth_px of person 3 is not finite at right_hip"):
        metrics.score("mpii", predictions_px, truth_px, annotated, head_px)


@pytest.fixture(scope="module")
def published():
    """A published 2-stack hourglass's predictions of the MPII validation persons, with the truth."""
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "mpii", "valid.h5").is_file():
        pytest.skip("ADVPOSE_DATA names no folder with mpii/valid.h5")
    with h5py.File(Path(root, "mpii", "valid.h5")) as file:
        truth_px, head_px, visible = (file[name][()] for name in ("part", "normalize", "visible"))
    predictions_px = loadmat(Path(root, "mpii", "predictions_hg_s2_b1.mat"))["preds"]
    return predictions_px, truth_px, (truth_px != 0).any(axis=2), head_px, visible == 1


def test_published_predictions_score_their_published_pckh(published):
    predictions_px, truth_px, annotated, head_px, visible = published
    score = metrics.score("mpii", predictions_px, truth_px, annotated, head_px)
    expected = {
        "Head": 96.74,
        "Shoulder": 94.57,
        "Elbow": 88.12,
        "Wrist": 83.31,
        "Hip": 86.26,
        "Knee": 80.88,
        "Ankle": 77.47,
    }
    assert score.groups == pytest.approx(expected, abs=0.01)
    assert score.joint("head_top") == pytest.approx(95.84, abs=0.01)
    assert score.mean_joint == pytest.approx(86.76, abs=0.01)
    assert score.mean_of_groups == pytest.approx(86.76, abs=0.01)
    assert score.pooled == pytest.approx(87.30, abs=0.01)
    assert np.isnan(score.joint("pelvis"))
    assert (score.persons, score.persons_left_out, score.joints_counted) == (2958, 0, 14)
    assert score.curve[-1] == score.pooled
    assert score.curve[9] == score.strict_pooled
    only_visible = metrics.score("mpii", predictions_px, truth_px, annotated & visible, head_px)
    assert only_visible.pooled == pytest.approx(92.48, abs=0.01)
    all_joints = metrics.pck(predictions_px, truth_px, annotated, head_px, MPII, 0.5, metric="PCKh")
    assert all_joints.pooled == pytest.approx(88.20, abs=0.01)
