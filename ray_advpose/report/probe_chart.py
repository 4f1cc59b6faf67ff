"""One look at Figure 5's question: do predictions lie where the pose network's loss is?"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ray_advpose.report.chart_style import MEASURED, PREDICTED, chart
from ray_advpose.training.history import Probe

_DPI = 110


def probe_chart(probe: Probe) -> np.ndarray:
    """Draw loss and prediction side by side for scale, rotation and cells, as shares; an (H, W, 3) RGB picture."""
    with chart(height_in=4.6) as figure:
        scale, rotation, cells = figure.subplots(3, 1)
        scales = [f"{2**log2:.2f}" for log2 in probe.scales_log2]
        rotations = [f"{degrees:.0f}" for degrees in probe.rotations_deg]
        rows, columns = probe.grid
        names = [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)]
        draw_shares(scale, scales, probe.loss_scale, probe.predicted_scale)
        scale.set_xlabel("scale of the crop")
        draw_shares(rotation, rotations, probe.loss_rotation, probe.predicted_rotation)
        rotation.set_xlabel("rotation in degrees")
        draw_shares(cells, names, probe.loss_cells, probe.predicted_cells)
        cells.set_xlabel("occluded cell: row, column")
        figure.legend(*scale.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        figure.supylabel("share", fontsize=matplotlib.rcParams["axes.titlesize"])
        figure.set_dpi(_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def shares(values: Sequence[float]) -> np.ndarray:
    """Return values as shares of their sum, as the targets of stage 2 are; (0,) for none."""
    array = np.asarray(values, dtype=np.float64)
    total = array.sum()
    # NaN, as the losses of a network that has diverged, stays NaN: it is not flat.
    return np.full(len(array), 1 / max(1, len(array))) if total == 0 else array / total


def draw_shares(axes: Axes, names: Sequence[str], losses: Sequence[float], predicted: Sequence[float]) -> None:
    """Draw bars of the loss's shares and, if there are any, of predictions beside them."""
    places = np.arange(len(names))
    width = 0.4 if predicted else 0.8
    axes.bar(places - (0.2 if predicted else 0), shares(losses), width, color=MEASURED, hatch="//", label="loss")
    if predicted:
        axes.bar(places + 0.2, shares(predicted), width, color=PREDICTED, label="predicted")
    axes.set_xticks(places, names, rotation=90 if len(names) > 12 else 0)
    axes.grid(visible=False, axis="x")
