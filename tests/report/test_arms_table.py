from __future__ import annotations

import json

import numpy as np
import pytest

from ray_advpose.pose.metrics import score_lspet
from ray_advpose.pose.skeleton import LSP
from ray_advpose.presets import ARMS
from ray_advpose.report.arms_table import arms_json, arms_table
from ray_advpose.report.paper_table import PAPER_TABLE_1


def score_with(wrong_wrists: int):
    """Ten people with a torso of 50 px, of whom some have both wrists predicted far off."""
    truth_px = np.zeros((10, 14, 2))
    truth_px[:, LSP.index("left_shoulder"), 1] = 50
    predictions_px = truth_px.copy()
    predictions_px[:wrong_wrists, [LSP.index("left_wrist"), LSP.index("right_wrist")]] += 100
    return score_lspet(predictions_px, truth_px, np.ones((10, 14), dtype=bool))


SCORES = {
    "random": {0: score_with(4), 1: score_with(6)},
    "asr+aho": {0: score_with(2), 1: score_with(3), 2: score_with(10)},
}


def cells_of(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_a_row_of_ours_and_one_of_the_papers_for_each_arm():
    header, _, random, paper_random, both, paper_both = cells_of(arms_table(SCORES, "residual"))
    assert header[2:10] == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "mean_joint14"]
    assert random[:2] == ["random", "here, 2 seeds"]
    assert random[5] == "50.00"  # (60 + 40) / 2
    assert both[5] == "50.00"  # (80 + 70 + 0) / 3
    assert random[10:] == ["", ""]
    assert paper_random[1:10] == ["paper", "97.2", "94.8", "87.8", "83.4", "87.8", "81.3", "76.5", "87.0"]
    assert paper_both[9:11] == ["87.8", "+0.8"]
    # On the two seeds in common: 20 and 30 points on two of 14 joints.
    assert both[11] == "+2.86 +4.29"
    assert both[10].startswith("+3.57 [+")


def test_the_dense_half_of_the_papers_table():
    *_, paper_both = cells_of(arms_table(SCORES, "dense"))
    assert paper_both[9:11] == ["87.6", "+0.8"]


def test_without_a_common_seed_there_is_no_gain():
    rows = cells_of(arms_table({"random": {0: score_with(1)}, "asr": {5: score_with(1)}}, "residual"))
    assert rows[4][10:] == ["", ""]


def test_the_same_for_machines():
    found = json.loads(arms_json(SCORES))
    assert found["random"]["gain"] is None
    assert found["random"]["seeds"]["0"]["Wrist"] == 60
    assert found["asr+aho"]["gain"]["by_seed"] == pytest.approx([20 * 2 / 14, 30 * 2 / 14])


@pytest.mark.parametrize("block", PAPER_TABLE_1)
def test_the_papers_means_are_the_means_of_its_groups(block):
    # A slip of the pen in the table would show: the printed mean is that of the seven groups, to rounding.
    assert PAPER_TABLE_1[block].keys() == ARMS.keys()
    for *groups, mean in PAPER_TABLE_1[block].values():
        assert np.mean(groups) == pytest.approx(mean, abs=0.06)
