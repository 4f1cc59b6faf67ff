"""A score as a person and as a program reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ray_advpose.data.rescoring import FileScore, caption_with
from ray_advpose.pose.metrics import score
from ray_advpose.pose.skeleton import LSP
from ray_advpose.report.score_table import named_means, score_json, score_table


def scored(left_out=(), unofficial=None, missing=0):
    """Nine persons with a torso of 100 px: one wrist 21 px off, the other not annotated."""
    truth_px = np.zeros((9, 14, 2))
    truth_px[:, LSP.index("left_shoulder"), 1] = 100
    predictions_px = truth_px + np.array([1.0, -2.0])
    predictions_px[:3, LSP.index("right_wrist"), 0] += 20
    predictions_px[:missing, LSP.index("neck")] = np.nan
    annotated = np.ones((9, 14), dtype=bool)
    annotated[:, LSP.index("left_wrist")] = False
    result = score("lspet", predictions_px, truth_px, annotated)
    caption = caption_with(result, "exact", False)
    return FileScore("lspet", result, unofficial or {}, caption, "exact", False, tuple(left_out), ("read somehow",))


def cells(text, first):
    """Return the cells below a header that starts with a cell, by the header's cells."""
    lines = text.splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith(f"| {first} "))
    header, row = ([cell.strip() for cell in lines[at].strip("|").split("|")] for at in (place, place + 2))
    return dict(zip(header, row, strict=True))


def test_every_mean_is_named():
    score = scored().score
    wrists = 100 * 2 / 3
    assert named_means(score) == {
        "mean_joint13": pytest.approx((12 * 100 + wrists) / 13),
        "mean_of_groups": pytest.approx((6 * 100 + wrists) / 7),
        "pooled13": pytest.approx((12 * 100 + wrists) / 13),
        "mean_joint13 @0.1": pytest.approx((12 * 100 + wrists) / 13),
        "pooled13 @0.1": pytest.approx((12 * 100 + wrists) / 13),
    }


def test_the_text_holds_groups_means_joints_and_curve():
    text = score_table(scored())
    assert cells(text, "Head")["Wrist"] == "66.67"
    means = cells(text, "mean_joint13")
    assert means["mean_of_groups"] == "95.24"
    assert set(means) == {*named_means(scored().score), "area of the curve"}
    assert "| right_wrist | 66.67 | 66.67 | 9 | 1.00 | -2.00 |" in text
    assert "| left_wrist | - | - | 0 | - | - |" in text
    last = text.splitlines()[-2:]
    assert last[0].startswith("PCK@0.2: distance <= 0.2 x (left shoulder to right hip)")
    assert last[0].endswith("decoder exact, flip test off; median signed error (1.00, -2.00) px")
    assert last[1] == "read somehow"


def test_the_text_holds_every_point_of_the_curve():
    found = scored()
    below = score_table(found).partition("| pooled13, distance <= ")[2].splitlines()
    assert below[0] == "| " + " | ".join(f"+{at / 100:.2f}" for at in range(1, 11)) + " |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in below[2:7]]
    assert [row[0] for row in rows] == ["0.00", "0.10", "0.20", "0.30", "0.40"]
    assert [cell for row in rows for cell in row[1:]] == [f"{point:.2f}" for point in found.score.curve]
    # The wrists are 21 px off, of a torso of 100 px.
    assert (rows[1][10], rows[2][2]) == ("97.44", "100.00")


def test_other_definitions_are_marked_as_not_official():
    text = score_table(scored(unofficial={"pooled14": 88.2, "pooled13_visible": 92.48}))
    below = text.partition("Not the official definition:")[2]
    assert "| pooled14, left_wrist counted | pooled13, visible joints only |" in below
    assert "| 88.20 | 92.48 |" in below
    assert "official" not in score_table(scored())


def test_the_first_left_out_persons_are_named():
    assert "left out without a normaliser: a, b\n" in score_table(scored(left_out="ab"))
    assert "left out without a normaliser: a, b, c, d, e and 3 more\n" in score_table(scored(left_out="abcdefgh"))
    assert "left out without a normaliser:" not in score_table(scored())


def test_missing_predictions_are_counted():
    assert "2 counted predictions are not finite, and so wrong" in score_table(scored(missing=2))
    assert "1 counted prediction is not finite, and so wrong" in score_table(scored(missing=1))
    assert "not finite" not in score_table(scored())


def test_json_holds_everything_and_null_where_nothing_counts():
    found = scored(left_out="abcdefgh", unofficial={"pooled14": 88.2}, missing=1)
    record = json.loads(score_json(found), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["protocol"] == "lspet"
    assert record["definition"] == found.caption
    assert (record["decoder"], record["flip_test"]) == ("exact", False)
    assert (record["persons"], record["left_out"]) == (9, list("abcdefgh"))
    assert record["predictions_not_finite"] == 1
    assert record["means"] == named_means(found.score)
    assert record["not_official"] == {"pooled14": 88.2}
    assert record["groups"] == found.score.groups
    joints = {joint.pop("joint"): joint for joint in record["joints"]}
    assert list(joints) == list(LSP.joints)
    assert joints["left_wrist"] == {
        "accuracy": None,
        "strict_accuracy": None,
        "counted": 0,
        "median_error_px": [None, None],
    }
    assert joints["right_wrist"]["accuracy"] == pytest.approx(200 / 3)
    assert joints["right_knee"]["median_error_px"] == [1, -2]
    assert record["curve"]["thresholds"] == [at / 100 for at in range(1, 51)]
    assert record["curve"]["pooled"] == found.score.curve.tolist()
    assert record["area"] == found.score.area
    assert record["median_error_px"] == [1, -2]
    assert record["notes"] == ["read somehow"]
