"""The paper's Figure 5, over epochs: what is predicted, and how the pose network's loss is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from ray_advpose.report.chart_style import BASELINE, LINES, MEASURED, PREDICTED, chart, png
from ray_advpose.report.probe_chart import shares
from ray_advpose.training.history import EpochRecord, Probe
from ray_advpose.training.schedule import Stage

_COLUMNS = 4


@dataclass(frozen=True)
class Distributed:
    """Over what loss and prediction are distributed.

    Attributes:
        name: ``scale``, ``rotation`` or ``cells``, as in the fields of `Probe`.
        title: For people.
        axis: What the bins are, with their unit.
    """

    name: str
    title: str
    axis: str

    def loss(self, probe: Probe) -> np.ndarray:
        """Return the loss's shares."""
        return shares(getattr(probe, f"loss_{self.name}"))

    def predicted(self, probe: Probe) -> np.ndarray:
        """Return the predicted probabilities; (0,) where none were predicted."""
        return np.asarray(getattr(probe, f"predicted_{self.name}"))


SCALE = Distributed("scale", "Scale", "scale of the crop")
ROTATION = Distributed("rotation", "Rotation", "rotation in degrees")
CELLS = Distributed("cells", "Occlusion", "occluded cell, row by row")


def probed(history: Sequence[EpochRecord]) -> list[EpochRecord]:
    """Return the epochs with a probe."""
    return [record for record in history if record.probe is not None]


def distribution_figure(over: Distributed, joint: Sequence[EpochRecord], random: Sequence[EpochRecord] = ()) -> bytes:
    """Draw Figure 5: predicted distribution, loss under joint training, and loss under random augmentation.

    Args:
        over: Scale, rotation or cells.
        joint: History of a run with augmentation networks; has an epoch with a probe.
        random: History of a run without, or nothing: its row is left out.
    """
    chosen = _spread(joint)
    predicted = [(record, over.predicted(_probe(record))) for record in chosen]
    losses = [(record, over.loss(_probe(record))) for record in chosen]
    learned = any(len(values) for _, values in predicted)
    rows = [
        ("predicted", PREDICTED, "", predicted),
        ("loss, joint\ntraining" if learned else "loss", MEASURED, "//", losses),
    ]
    if probed(random):
        others = _spread(random)
        rows.append(
            ("loss, random\ntraining", BASELINE, "..", [(record, over.loss(_probe(record))) for record in others])
        )
    rows = [row for row in rows if any(len(values) for _, values in row[3])]
    values = np.concatenate([values for *_, cells in rows for _, values in cells])
    top = 1.15 * float(values[np.isfinite(values)].max(initial=0.01))
    with chart(height_in=0.75 + 1.05 * len(rows)) as figure:
        axes = figure.subplots(len(rows), _COLUMNS, squeeze=False, sharey=True)
        for row, (label, color, hatch, cells) in enumerate(rows):
            for column in range(_COLUMNS):
                if column >= len(cells):
                    axes[row, column].set_visible(False)
                    continue
                record, values = cells[column]
                _bars(axes[row, column], over, _probe(record), values, color, hatch)
                axes[row, column].set_title(f"{record.stage} {record.epoch}", fontsize=8)
            axes[row, 0].set_ylabel(label)
            axes[row, 0].set_ylim(0, top)
        figure.supxlabel(over.axis, fontsize=8.5)
        return png(figure)


def spread_percent(values: np.ndarray) -> float:
    """Return how far from flat a distribution is: (largest - smallest) / mean, in percent."""
    return float(100 * (values.max() - values.min()) / values.mean())


def flatness_figure(over: Distributed, histories: Mapping[str, Sequence[EpochRecord]]) -> bytes:
    """Draw how flat the loss is over epochs: the spread of `spread_percent`, a line for each run.

    Args:
        over: Scale, rotation or cells.
        histories: By what the run is called; each has an epoch with a probe.
    """
    with chart(height_in=2.5) as figure:
        axes = figure.subplots()
        for (name, history), style in zip(histories.items(), LINES, strict=False):
            records = probed(history)
            axes.plot(
                [record.step for record in records],
                [spread_percent(over.loss(_probe(record))) for record in records],
                label=name,
                **style,
            )
        axes.set_xlabel("training steps")
        axes.set_ylabel("spread of the loss, % of mean")
        axes.set_ylim(bottom=0)
        axes.legend()
        return png(figure)


def _probe(record: EpochRecord) -> Probe:
    assert record.probe is not None
    return record.probe


def _spread(history: Sequence[EpochRecord]) -> list[EpochRecord]:
    """Return a few epochs from the beginning of stage 3 to the end; stage 2 leaves D as it was."""
    records = probed(history)
    joint = [record for record in records if record.stage == Stage.JOINT.label]
    before = [record for record in records if record.stage != Stage.JOINT.label]
    records = [*before[-1:], *joint]
    places = np.unique(np.linspace(0, len(records) - 1, min(_COLUMNS, len(records))).round().astype(int))
    return [records[place] for place in places]


def _bars(axes: Axes, over: Distributed, probe: Probe, values: np.ndarray, color: str, hatch: str) -> None:
    axes.bar(np.arange(len(values)), values, 0.85, color=color, hatch=hatch, edgecolor="white", linewidth=0)
    last = len(values) - 1
    ticks = sorted({0, last // 2, last}) if last >= 0 else []
    names = {
        "scale": [f"{2**log2:.1f}" for log2 in probe.scales_log2],
        "rotation": [f"{degrees:.0f}" for degrees in probe.rotations_deg],
        "cells": [str(cell + 1) for cell in range(len(probe.loss_cells))],
    }[over.name]
    axes.set_xticks(ticks, [names[tick] for tick in ticks], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(visible=False, axis="x")
