"""What a checkpoint predicts on a split, drawn over its persons."""

from __future__ import annotations

import cv2
import numpy as np

from ray_advpose.data.persons import Split
from ray_advpose.data.shards import ShardSet, read_persons
from ray_advpose.pose.skeleton import skeleton_named
from ray_advpose.report.skeletons import draw_skeleton, picture_grid

_SIDE_PX = 192


def prediction_picture(
    shards: ShardSet, split: Split, predictions_px: np.ndarray, persons: int = 24, columns: int = 6
) -> np.ndarray:
    """Draw predictions over evenly spaced persons of a split, annotated joints as white crosses.

    The persons are not chosen by their score, so what is seen is what is to be expected.

    Args:
        shards: Prepared data.
        split: The split that was predicted.
        predictions_px: (N, J, 2) predictions for all of the split, in original-image pixels.
        persons: How many to draw.
        columns: Pictures in a row.

    Returns:
        An RGB picture.
    """
    count = shards.count(split)
    chosen = np.unique(np.linspace(0, count - 1, min(persons, count)).round().astype(int))
    return picture_grid(person_pictures(shards, split, chosen, predictions_px), columns)


def person_pictures(
    shards: ShardSet, split: Split, chosen: np.ndarray, predictions_px: np.ndarray, with_truth: bool = True
) -> list[np.ndarray]:
    """Draw predictions over some persons of a split.

    Args:
        shards: Prepared data.
        split: The split that was predicted.
        chosen: (n,) places in it.
        predictions_px: (N, J, 2) predictions for all of the split, in original-image pixels.
        with_truth: Whether annotated joints are drawn, as white crosses.

    Returns:
        n square RGB pictures of one size.
    """
    found = read_persons(shards, split, chosen)
    canvas = shards.manifest.canvas
    skeleton = skeleton_named(shards.manifest.skeleton)
    margin = 1.15
    zoom = _SIDE_PX / (canvas.box_px * margin)
    # Puts the person's box, with a little margin, into the picture; edges at integers, so no half pixels here.
    shift = _SIDE_PX / 2 - zoom * canvas.canvas_px / 2
    pictures = []
    for place, person in enumerate(chosen):
        matrix = found.image_from_canvas[place]
        predicted_cv = np.linalg.solve(matrix[:, :2], (predictions_px[person] - matrix[:, 2]).T).T
        truth = np.where(found.annotated[place][:, None], found.joints_cv[place], np.nan) * zoom + shift
        half = 0.5 * (zoom - 1)
        picture = cv2.warpAffine(
            found.canvas[place],
            np.array([[zoom, 0, shift + half], [0, zoom, shift + half]]),
            (_SIDE_PX, _SIDE_PX),
            flags=cv2.INTER_LINEAR,
        )
        drawn_px = predicted_cv * zoom + shift
        pictures.append(draw_skeleton(picture, drawn_px, skeleton, truth if with_truth else None))
    return pictures
