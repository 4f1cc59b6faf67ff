"""Accuracy as curves: over the threshold (the paper's Figure 6), and over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from ray_advpose.pose.score import CURVE_THRESHOLDS, Score
from ray_advpose.report.chart_style import BASELINE, LINES, PREDICTED, chart, name_lines, png
from ray_advpose.report.ranking import TrialOutcome, ranked
from ray_advpose.training.schedule import Stage

_NAMED = 5
_FAINT_LINES = 60


def threshold_figure(scores: Mapping[str, Sequence[Score]]) -> bytes:
    """Draw accuracy over the distance at which a joint counts as found.

    Args:
        scores: By what is compared, one for each seed; a curve is the mean over seeds.
    """
    some = next(iter(scores.values()))[0]
    # Up to the threshold that tables use: 0.5 for PCKh, 0.2 for PCK.
    shown = some.threshold + 1e-9 >= CURVE_THRESHOLDS
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        for (name, by_seed), style in zip(scores.items(), cycle(LINES), strict=False):
            curve = np.mean([score.curve for score in by_seed], axis=0)
            axes.plot(
                CURVE_THRESHOLDS[shown], curve[shown], label=name, markevery=max(1, int(shown.sum()) // 8), **style
            )
        axes.set_xlabel(f"largest distance that counts as found, of the normaliser ({some.metric})")
        axes.set_ylabel("joints found, %")
        axes.set_xlim(0, some.threshold * 1.02)
        axes.set_ylim(bottom=0)
        name_lines(figure, axes, inside="upper left")
        return png(figure)


def score_figure(outcomes: Sequence[TrialOutcome], score_name: str) -> bytes:
    """Draw every trial's validation score over its steps; the best few are named, where stage 3 began is marked.

    Args:
        outcomes: Trials, at least one of which has ended an epoch.
        score_name: What the score is, e.g. ``PCK@0.2``.
    """
    in_order = [outcome for outcome in ranked(outcomes) if outcome.history]
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        for outcome in in_order[_NAMED:][:_FAINT_LINES]:
            axes.plot(*_steps_and_scores(outcome), color=BASELINE, linewidth=0.8, alpha=0.6)
        for outcome, style in zip(in_order[:_NAMED], cycle(LINES), strict=False):
            axes.plot(*_steps_and_scores(outcome), label=outcome.trial_id, **style)
        starts = {
            before.step
            for outcome in in_order
            for before, after in zip(outcome.history, outcome.history[1:], strict=False)
            if after.stage == Stage.JOINT.label and before.stage != Stage.JOINT.label
        }
        for start in sorted(starts)[:_NAMED]:
            axes.axvline(start, color=PREDICTED, linewidth=0.8, linestyle=":")
        axes.set_xlabel("training steps; dotted: stage 3 begins" if starts else "training steps")
        axes.set_ylabel(f"validation {score_name}, %")
        axes.legend(loc="best")
        return png(figure)


def _steps_and_scores(outcome: TrialOutcome) -> tuple[list[int], list[float]]:
    return [record.step for record in outcome.history], [record.metric for record in outcome.history]
