"""A population over time: who copied whom, and how each trial's settings changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from ray_advpose.report.chart_style import BASELINE, MEASURED, PREDICTED, chart, png

_LANE_IN = 0.24
_MOST_LANES = 40
_LOG_RATIO = 20


@dataclass(frozen=True)
class Part:
    """A stretch of a trial with fixed settings.

    Attributes:
        trial: Its number.
        first_step: Where it began.
        last_step: Where it ended, or is.
        settings: By dotted field.
        donor: Whom it was copied from at ``first_step``; None for a trial's beginning.
        led_to_best: Whether it is on the path to the best network.
    """

    trial: int
    first_step: int
    last_step: int
    settings: Mapping[str, Any]
    donor: int | None
    led_to_best: bool


def lineage_figure(parts: Sequence[Part]) -> bytes:
    """Draw a lane for each trial; an arrow runs from who was copied to who copied.

    Args:
        parts: Of all trials, in any order; of more trials than a figure has room for those that copied
            or were copied come first.
    """
    lanes = _lanes(parts)
    with chart(height_in=0.9 + _LANE_IN * len(lanes)) as figure:
        axes = figure.subplots()
        for part in parts:
            if part.trial not in lanes:
                continue
            lane = lanes[part.trial]
            color, width = (PREDICTED, 3.0) if part.led_to_best else (BASELINE, 1.4)
            axes.plot([part.first_step, part.last_step], [lane, lane], color=color, linewidth=width)
            if part.donor is not None and part.donor in lanes:
                axes.annotate(
                    "",
                    xy=(part.first_step, lane),
                    xytext=(part.first_step, lanes[part.donor]),
                    arrowprops={"arrowstyle": "-|>", "color": MEASURED, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 1},
                )
        axes.set_yticks(list(lanes.values()), [f"trial {trial}" for trial in lanes], fontsize=7.5)
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.set_xlabel("training steps; arrow: a copy; thick: the path to the best")
        axes.grid(visible=False, axis="y")
        return png(figure)


def settings_figure(parts: Sequence[Part], fields: Collection[str]) -> bytes:
    """Draw how fields changed over training, a panel each; the path to the best is thick.

    Args:
        parts: Of all trials.
        fields: Dotted names of number fields, at least one.
    """
    with chart(height_in=0.6 + 1.25 * len(fields)) as figure:
        panels = figure.subplots(len(fields), 1, squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, fields, strict=True):
            _panel(axes, parts, name)
        panels[-1].set_xlabel("training steps; thick: the path to the best")
        return png(figure)


def _panel(axes: Axes, parts: Sequence[Part], name: str) -> None:
    for part in sorted(parts, key=lambda part: part.led_to_best):
        color, width = (PREDICTED, 2.6) if part.led_to_best else (BASELINE, 0.9)
        value = part.settings[name]
        axes.plot([part.first_step, part.last_step], [value, value], color=color, linewidth=width)
    values = [part.settings[name] for part in parts]
    if min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
        axes.set_yscale("log")
    axes.set_title(name, loc="left", fontsize=8.5)


def _lanes(parts: Sequence[Part]) -> dict[int, int]:
    """Return the lane of each trial that is shown."""
    copying = {trial for part in parts if part.donor is not None for trial in (part.trial, part.donor)}
    trials = sorted({part.trial for part in parts}, key=lambda trial: (trial not in copying, trial))[:_MOST_LANES]
    return {trial: lane for lane, trial in enumerate(sorted(trials))}
