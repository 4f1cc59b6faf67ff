"""The arms of the ablation side by side, in the shape of the paper's Table 1 and beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ray_advpose.pose.gain import Gain, paired_gain
from ray_advpose.pose.score import Score
from ray_advpose.report.paper_table import PAPER_TABLE_1
from ray_advpose.report.ranking import markdown_table
from ray_advpose.report.score_table import figure, json_text

BASELINE = "random"

ArmScores = Mapping[str, Mapping[int, Score]]
"""For every arm the score of every seed it was trained with."""


def arms_table(scores: ArmScores, block: str) -> str:
    """Return `arms_rows` as a Markdown table."""
    return markdown_table(*arms_rows(scores, block))


def arms_rows(scores: ArmScores, block: str) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table with a row for each arm and one of the paper's below it.

    A cell is the mean over seeds. The gain is of ``mean_joint``, on the seeds that an arm and the
    baseline have in common, with the 95 % interval of a paired bootstrap.

    Args:
        scores: The arms in the order of the rows; each has at least one seed.
        block: ``residual`` or ``dense``: which half of the paper's table.
    """
    some = next(iter(next(iter(scores.values())).values()))
    header = ["arm", "", *some.groups, f"mean_joint{some.joints_counted}", "gain over random, 95 % interval", "by seed"]
    rows: list[list[str]] = []
    for arm, by_seed in scores.items():
        means = np.mean([[*score.groups.values(), score.mean_joint] for score in by_seed.values()], axis=0)
        rows.append([arm, _seeds(len(by_seed)), *map(figure, means.tolist()), *_gain(scores, arm)])
        paper = PAPER_TABLE_1[block][arm]
        gain = "" if arm == BASELINE else f"{paper[-1] - PAPER_TABLE_1[block][BASELINE][-1]:+.1f}"
        rows.append(["", "paper", *(f"{value:.1f}" for value in paper), gain, ""])
    return header, rows


def arms_json(scores: ArmScores) -> str:
    """Return the same for machines: groups, means and gains of every arm and seed."""
    record = {
        arm: {
            "seeds": {
                str(seed): {**score.groups, "mean_joint": score.mean_joint, "pooled": score.pooled}
                for seed, score in by_seed.items()
            },
            "gain": vars(gain) if (gain := _gain_of(scores, arm)) else None,
        }
        for arm, by_seed in scores.items()
    }
    return json_text(record)


def _gain(scores: ArmScores, arm: str) -> tuple[str, str]:
    gain = _gain_of(scores, arm)
    return ("", "") if gain is None else (str(gain), " ".join(f"{each:+.2f}" for each in gain.by_seed))


def _gain_of(scores: ArmScores, arm: str) -> Gain | None:
    common = [seed for seed in scores[arm] if seed in scores.get(BASELINE, {})]
    if arm == BASELINE or not common:
        return None
    ours, theirs = ([scores[each][seed] for seed in common] for each in (arm, BASELINE))
    return paired_gain([s.relative for s in ours], [s.relative for s in theirs], ours[0].threshold)


def _seeds(count: int) -> str:
    return f"here, {count} seed{'s' if count > 1 else ''}"
