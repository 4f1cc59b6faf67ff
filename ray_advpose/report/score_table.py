"""A score as text, with the definition it was made under."""

from __future__ import annotations

from ray_advpose.pose.metrics import Score
from ray_advpose.report.ranking import markdown_table


def score_table(score: Score, caption: str) -> str:
    """Return a Markdown table of the groups and every named mean, above its caption."""
    joints = score.joints_counted
    cells = {
        **score.groups,
        f"mean_joint{joints}": score.mean_joint,
        f"pooled{joints}": score.pooled,
        f"pooled{joints} @{score.strict_threshold:g}": score.strict_pooled,
        "area": score.area,
    }
    table = markdown_table(list(cells), [[f"{value:.2f}" for value in cells.values()]])
    horizontal, vertical = score.median_error_px
    return f"{table}{caption}; median signed error ({horizontal:.2f}, {vertical:.2f}) px"
