"""How synthetic pictures are painted: smooth convex polygons filled from a 256-colour palette.

Areas are small and many, so the arithmetic stays in uint8 and in OpenCV wherever it can: a picture
has a budget of a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LAST_MIX = 253
"""Palette positions 0..253 mix two colours; 254 and 255 are two more colours."""

FULL_SHADE = 128
_SHIFT_BITS = 4
_MIX = np.linspace(0, 1, LAST_MIX + 1)[:, None]


def random_colors(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 3) float64 colours in 8..247, from greys to saturated ones."""
    chroma = rng.uniform(-1, 1, (count, 3)) * rng.uniform(5, 110, (count, 1))
    return clamp(rng.uniform(25, 225, (count, 1)) + chroma, 8, 247)


def palette(first: np.ndarray, second: np.ndarray, extra: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Return (256, 1, 3) uint8: from ``first`` (3,) to ``second`` (3,), then up to two more colours."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: LAST_MIX + 1, 0] = clamp(first + _MIX * (second - first), 0, 255)
    for place, color in enumerate(extra, LAST_MIX + 1):
        table[place, 0] = clamp(color, 0, 255)
    return table


def area_of(outline_px: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice, np.ndarray] | None:
    """Return the rows, columns and (h, w) uint8 opacity of a convex (K, 2) outline; None if outside."""
    left, top, width, height = cv2.boundingRect(outline_px)
    right, bottom = min(left + width + 1, shape[1]), min(top + height + 1, shape[0])
    left, top = max(left - 1, 0), max(top - 1, 0)
    if right <= left or bottom <= top:
        return None
    opacity = np.zeros((bottom - top, right - left), dtype=np.uint8)
    fill(opacity, outline_px - np.array([left, top], dtype=np.float32), 255)
    return slice(top, bottom), slice(left, right), opacity


def fill(picture: np.ndarray, polygon_px: np.ndarray, color: float | Sequence[float]) -> None:
    """Fill a convex (K, 2) polygon with one colour."""
    # OpenCV puts the first pixel's centre at 0; here it is at 0.5.
    points = np.rint((polygon_px - 0.5) * (1 << _SHIFT_BITS)).astype(np.int32)
    cv2.fillConvexPoly(picture, points, color, cv2.LINE_AA, _SHIFT_BITS)


def stain(
    region: np.ndarray, opacity: np.ndarray, index: np.ndarray, table: np.ndarray, shade: np.ndarray | None = None
) -> None:
    """Paint palette colours over a region in place.

    Args:
        region: (h, w, 3) uint8 of the picture.
        opacity: (h, w) uint8.
        index: (h, w) uint8 positions in the palette.
        table: (256, 1, 3) uint8 palette.
        shade: (h, w) uint8 brightness, `FULL_SHADE` leaves a colour as it is.
    """
    colors = cv2.applyColorMap(index, table)
    if shade is not None:
        colors = cv2.multiply(colors, cv2.merge([shade, shade, shade]), scale=1 / FULL_SHADE)
    over = opacity * np.float32(1 / 255)
    region[:] = cv2.blendLinear(colors, region, over, 1 - over)


def clamp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`np.clip` without its overhead, which on small areas exceeds the work."""
    return np.minimum(np.maximum(values, low), high)
