"""What every data source yields: one annotated person, in one coordinate convention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ray_advpose.pose.skeleton import LSP

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Protocol = Literal["lsp", "lspet", "mpii"]

ImageRef = Path | np.ndarray | Callable[[], np.ndarray]

LABEL_TO_EDGE_PX = -0.5
"""Data sets label the first pixel 1; with edges at integers its centre is 0.5."""

BOX_MARGIN = 1.25


@dataclass(frozen=True)
class Person:
    """One person as annotated, before any crop.

    Attributes:
        person_id: Unique within the source, stable across runs.
        split: ``train``, ``val`` or ``test``.
        image: Path of the picture; or the picture itself, (H, W, 3) uint8 in BGR order; or a
            function of no arguments that returns it, called in a worker thread.
        joints_px: (J, 2) float64, x and y in original-image pixels, edges at integers; 0 where
            not annotated.
        annotated: (J,) bool, whether the joint has a label.
        occluded: (J,) bool, whether the label says the joint is hidden.
        center_px: (2,) float64, centre of the person's square box.
        box_px: Side of that box in original-image pixels.
        normalizer_px: Length a joint's error is divided by (PCK, PCKh); NaN where unknown.
    """

    person_id: str
    split: Split
    image: ImageRef
    joints_px: np.ndarray
    annotated: np.ndarray
    occluded: np.ndarray
    center_px: np.ndarray
    box_px: float
    normalizer_px: float


@dataclass(frozen=True)
class Source:
    """A data set opened for preparation.

    Attributes:
        name: Short name stored in the manifest.
        skeleton: Name of the joint order (`ray_advpose.pose.skeleton`).
        protocol: How the data set is scored: ``lsp``, ``lspet`` or ``mpii``.
        count: How many persons iterating yields.
        persons: The persons, in a fixed order; may be lazy but can be iterated only once.
        notes: Sentences for the user on what was left out or is missing, and why.
    """

    name: str
    skeleton: str
    protocol: Protocol
    count: int
    persons: Iterable[Person]
    notes: tuple[str, ...] = ()


def joints_box(joints_px: np.ndarray, annotated: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the square box around the annotated joints: a ground-truth box.

    Args:
        joints_px: (J, 2) float64.
        annotated: (J,) bool, at least one of them true.

    Returns:
        Centre (2,) and side, 1.25 x the longer side of the joints' bounding box, in pixels.
    """
    assert annotated.any(), "a person without joints has no box"
    known = joints_px[annotated]
    low, high = known.min(axis=0), known.max(axis=0)
    return (low + high) / 2, BOX_MARGIN * float((high - low).max())


def image_box(width_px: int, height_px: int) -> tuple[np.ndarray, float]:
    """Return the square box that holds the whole image, centred on it: centre (2,) and side."""
    return np.array([width_px / 2, height_px / 2]), float(max(width_px, height_px))


def torso_px(joints_px: np.ndarray, annotated: np.ndarray) -> float:
    """Return the LSP family's normaliser, left shoulder to right hip; NaN unless both are known."""
    shoulder, hip = LSP.index("left_shoulder"), LSP.index("right_hip")
    if not (annotated[shoulder] and annotated[hip]):
        return math.nan
    return float(np.linalg.norm(joints_px[shoulder] - joints_px[hip]))
