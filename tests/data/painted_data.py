"""Pictures and labels for small data sets on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 120, 90


def paint(path: Path, seed: int, size_px: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(coarse, size_px, interpolation=cv2.INTER_CUBIC))


def body_labels(n: int, seed: int = 0) -> np.ndarray:
    """(n, 14, 2) float64 labels well inside the painted images, 1-based."""
    return np.random.default_rng(seed).uniform((20, 15), (100, 75), (n, 14, 2))
