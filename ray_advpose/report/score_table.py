"""A score as text and as JSON, with the definition it was made under."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ray_advpose.data.rescoring import FileScore
from ray_advpose.pose.score import CURVE_THRESHOLDS, Score
from ray_advpose.report.ranking import markdown_table

_NAMES_SHOWN = 5
_CURVE_COLUMNS = 10


def named_means(score: Score) -> dict[str, float]:
    """Return every mean of a score by a name that says over what, in percent."""
    joints, strict = score.joints_counted, f" @{score.strict_threshold:g}"
    return {
        f"mean_joint{joints}": score.mean_joint,
        "mean_of_groups": score.mean_of_groups,
        f"pooled{joints}": score.pooled,
        f"mean_joint{joints}{strict}": score.strict_mean_joint,
        f"pooled{joints}{strict}": score.strict_pooled,
    }


def score_table(scored: FileScore) -> str:
    """Return Markdown tables of groups, means, joints and curve, above the definition and what was read."""
    score = scored.score
    parts = [
        _row(score.groups),
        _row({**named_means(score), "area of the curve": score.area}),
        _joints_table(score),
        _curve_table(score),
    ]
    if scored.unofficial:
        names = {name: _unofficial_text(name, score) for name in scored.unofficial}
        parts.append("Not the official definition:\n\n" + _row({names[k]: v for k, v in scored.unofficial.items()}))
    horizontal, vertical = score.median_error_px
    lines = [f"{scored.caption}; median signed error ({figure(horizontal)}, {figure(vertical)}) px"]
    if scored.left_out:
        lines.append(f"left out without a normaliser: {_some(scored.left_out)}")
    if score.not_finite:
        several = "prediction is" if score.not_finite == 1 else "predictions are"
        lines.append(f"{score.not_finite} counted {several} not finite, and so wrong")
    return "\n".join([*parts, *lines, *scored.notes])


def score_json(scored: FileScore) -> str:
    """Return everything `score_table` says and the whole curve as one JSON object; null where nothing counts."""
    score = scored.score
    joints = zip(
        score.skeleton.joints,
        score.joint_accuracy.tolist(),
        score.strict_joint_accuracy.tolist(),
        score.joint_counts.tolist(),
        score.joint_median_error_px.tolist(),
        strict=True,
    )
    record = {
        "protocol": scored.protocol,
        "definition": scored.caption,
        "metric": score.metric,
        "threshold": score.threshold,
        "strict_threshold": score.strict_threshold,
        "decoder": scored.decoder,
        "flip_test": scored.flip_test,
        "persons": score.persons,
        "left_out": scored.left_out,
        "predictions_not_finite": score.not_finite,
        "means": named_means(score),
        "not_official": scored.unofficial,
        "groups": score.groups,
        "joints": [
            {"joint": name, "accuracy": at, "strict_accuracy": strict, "counted": count, "median_error_px": error}
            for name, at, strict, count, error in joints
        ],
        "curve": {"thresholds": CURVE_THRESHOLDS.tolist(), "pooled": score.curve.tolist()},
        "area": score.area,
        "median_error_px": score.median_error_px.tolist(),
        "notes": scored.notes,
    }
    return json_text(record)


def json_text(record: Any) -> str:
    """Return JSON with null for every NaN, which JSON does not know."""
    return json.dumps(_without_nan(record), allow_nan=False)


def figure(value: float | str) -> str:
    """Return a table cell: text as it is, a number with two places, and a dash for NaN."""
    if isinstance(value, str):
        return value
    return "-" if math.isnan(value) else f"{value:.2f}"


def _row(cells: Mapping[str, float | str]) -> str:
    return markdown_table(list(cells), [[figure(value) for value in cells.values()]])


def _joints_table(score: Score) -> str:
    header = [
        "joint",
        f"{score.metric}@{score.threshold:g}",
        f"@{score.strict_threshold:g}",
        "counted",
        "median error x, px",
        "y, px",
    ]
    rows = [
        [
            name,
            figure(score.joint_accuracy[joint]),
            figure(score.strict_joint_accuracy[joint]),
            str(score.joint_counts[joint]),
            *map(figure, score.joint_median_error_px[joint]),
        ]
        for joint, name in enumerate(score.skeleton.joints)
    ]
    return markdown_table(header, rows)


def _curve_table(score: Score) -> str:
    """Every point of the curve; the threshold is what begins the row and heads the column, added up."""
    step = CURVE_THRESHOLDS[0]
    starts = range(0, len(CURVE_THRESHOLDS), _CURVE_COLUMNS)
    header = [f"pooled{score.joints_counted}, distance <=", *(f"+{t:.2f}" for t in CURVE_THRESHOLDS[:_CURVE_COLUMNS])]
    rows = [[f"{at * step:.2f}", *map(figure, score.curve[at : at + _CURVE_COLUMNS].tolist())] for at in starts]
    return markdown_table(header, rows)


def _unofficial_text(name: str, score: Score) -> str:
    if name.endswith("_visible"):
        return f"{name.removesuffix('_visible')}, visible joints only"
    never = [joint for joint, count in zip(score.skeleton.joints, score.joint_counts, strict=True) if count == 0]
    return f"{name}, {' and '.join(never)} counted"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _without_nan(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _without_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_nan(item) for item in value]
        case float() if math.isnan(value):
            return None
        case _:
            return value
