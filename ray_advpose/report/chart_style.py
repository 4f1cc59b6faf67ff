"""How every chart looks: narrow enough for a phone, told apart in grey and by colour-blind eyes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

WIDTH_IN = 4.2
"""As wide as a phone shows without shrinking; every chart has this width."""

LINES: tuple[Mapping[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#000000", "linestyle": ":", "marker": "D"},
    {"color": "#CC79A7", "linestyle": "-", "marker": "v"},
    {"color": "#E69F00", "linestyle": "--", "marker": "P"},
    {"color": "#0072B2", "linestyle": ":", "marker": "X"},
    {"color": "#D55E00", "linestyle": "-", "marker": "<"},
    {"color": "#009E73", "linestyle": "--", "marker": ">"},
    {"color": "#000000", "linestyle": "-.", "marker": "p"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "h"},
    {"color": "#E69F00", "linestyle": "-", "marker": "*"},
)
"""Arguments of `Axes.plot`; no two have the same marker, or the same colour and line style."""

PREDICTED, MEASURED, BASELINE = "#0072B2", "#D55E00", "#8C8C8C"

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.0,
    "figure.constrained_layout.use": True,
    "font.size": 8.5,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
}
_DPI = 200
_COLOURS = 64
_IN_THREE, _IN_AXES, _IN_WIDTH = 15, 24, 55  # letters of the longest name that has room
_NAME_IN = 0.16

Inside = Literal["best", "upper left", "lower right"]


@contextmanager
def chart(height_in: float) -> Iterator[Figure]:
    """Have a figure of the common width and style to draw on; its axes must be made within.

    Made without pyplot: no window, no global state, safe in any thread.
    """
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(WIDTH_IN, height_in))


def name_lines(figure: Figure, axes: Axes, inside: Inside | None = None) -> None:
    """Add the legend of what is drawn on some axes.

    Args:
        figure: It grows for names too long to stand inside or beside each other.
        axes: Whose lines have names.
        inside: Where in the axes; None: above all panels.
    """
    handles, names = axes.get_legend_handles_labels()
    longest = max(map(len, names))
    if inside is not None and longest <= _IN_AXES:
        axes.legend(loc=inside)
    elif longest <= _IN_THREE:
        figure.legend(handles, names, loc="outside upper center", ncols=3)
    else:
        names = [name.replace(":", ":\n  ") if len(name) > _IN_WIDTH else name for name in names]
        lines = sum(name.count("\n") + 1 for name in names)
        figure.set_figheight(figure.get_figheight() + _NAME_IN * lines)
        figure.legend(handles, names, loc="outside upper center", ncols=1)


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, sharp on dense screens, with as many colours as a chart needs: a third of the size."""
    drawn, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(drawn, format="png", dpi=_DPI)
    Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
