"""Arms side by side: over rotation, scale and occlusion, how bodies lie, training images, and epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np

from ray_advpose.pose.gain import Gain
from ray_advpose.report.chart_style import BASELINE, LINES, chart, name_lines, png
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import Stage

_AXES = {
    "rotation": "rotation in degrees",
    "scale": "scale of the crop",
    "occlusion": "blackened cells of 16",
}


def robustness_figure(
    values: Mapping[str, Sequence[float]], curves: Mapping[str, Mapping[str, Sequence[float]]], label: str
) -> bytes:
    """Draw a panel for each way in which pictures are changed, a line for each arm.

    Args:
        values: By the change, where it was measured.
        curves: By arm and change, what was measured there, the mean over seeds.
        label: What that is.
    """
    with chart(height_in=6.6) as figure:
        panels = figure.subplots(len(values), 1)
        for axes, (change, places) in zip(panels, values.items(), strict=True):
            for (arm, by_change), style in zip(curves.items(), cycle(LINES), strict=False):
                axes.plot(places, by_change[change], label=arm, **style)
            axes.set_xlabel(_AXES[change])
            axes.set_ylabel(label)
        name_lines(figure, panels[0])
        return png(figure)


def gain_figure(groups: Sequence[str], gains: Mapping[str, Sequence[Gain]], label: str) -> bytes:
    """Draw gains over random augmentation with their intervals, group beside group.

    Args:
        groups: What each is called.
        gains: By arm, one for each group; an arm without any is left out, as random augmentation itself is.
        label: What the groups are.
    """
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=BASELINE, linewidth=0.8, linestyle=":")
        for number, ((arm, by_group), style) in enumerate(zip(gains.items(), cycle(LINES), strict=False)):
            if by_group:
                places = np.arange(len(groups)) + min(0.13, 0.8 / len(gains)) * (number - (len(gains) - 1) / 2)
                low, high = ([getattr(gain, end) for gain in by_group] for end in ("low", "high"))
                axes.vlines(places, low, high, color=style["color"], linewidth=0.9)
                axes.plot(places, [gain.mean for gain in by_group], label=arm, **{**style, "linestyle": "none"})
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlabel(label)
        axes.set_ylabel("points over random")
        name_lines(figure, axes)
        return png(figure)


def size_figure(scores: Mapping[str, Mapping[int, Sequence[float]]], label: str) -> bytes:
    """Draw scores over the number of training images, the mean over seeds as a line and every seed as a dot.

    Args:
        scores: By arm and number of images, one score for each seed.
        label: What the score is.
    """
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        for (arm, by_size), style in zip(scores.items(), cycle(LINES), strict=False):
            sizes = sorted(by_size)
            axes.plot(sizes, [np.mean(by_size[size]) for size in sizes], label=arm, **style)
            for size in sizes:
                axes.plot([size] * len(by_size[size]), by_size[size], ".", color=style["color"], markersize=2.5)
        axes.set_xscale("log")
        every = sorted({size for by_size in scores.values() for size in by_size})
        axes.set_xticks(every, [f"{size:,}" for size in every])
        axes.minorticks_off()
        axes.set_xlabel("training images")
        axes.set_ylabel(label)
        name_lines(figure, axes, inside="best")
        return png(figure)


def training_figure(histories: Mapping[str, Sequence[Sequence[EpochRecord]]], label: str) -> bytes:
    """Draw validation scores over epochs of D's training, the mean over seeds, a line for each arm.

    Args:
        histories: By arm, one for each seed, all of as many epochs.
        label: What the score is.
    """
    with chart(height_in=2.9) as figure:
        axes = figure.subplots()
        begins = None
        for (arm, by_seed), style in zip(histories.items(), cycle(LINES), strict=False):
            trained = [[each for each in history if each.stage != Stage.PRETRAIN.label] for history in by_seed]
            scores = np.mean([[each.metric for each in history] for history in trained], axis=0)
            begins = sum(each.stage == Stage.POSE.label for each in trained[0])
            axes.plot(np.arange(1, len(scores) + 1), scores, label=arm, **{**style, "marker": None, "linewidth": 1.1})
        if begins is not None:
            axes.axvline(begins, color="#8C8C8C", linewidth=0.8, linestyle=":")
        axes.set_xlabel("epochs of stages 1 and 3; dotted: stage 3 begins")
        axes.set_ylabel(label)
        name_lines(figure, axes, inside="lower right")
        return png(figure)
