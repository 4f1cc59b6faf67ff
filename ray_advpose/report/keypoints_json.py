"""Predicted persons in the form of COCO's keypoint files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ray_advpose.data.predicting import PicturePrediction
from ray_advpose.pose.skeleton import Skeleton

_SEEN = 2
"""COCO's v: 2 is labelled and visible, 0 is not there."""


def in_picture(joints_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return (..., J) bool: which of the (..., J, 2) joints fall on a pixel; one that is not finite does not."""
    return np.asarray(((joints_px >= 0) & (joints_px < [width, height])).all(axis=-1))


def coco_keypoints(predictions: Iterable[PicturePrediction], skeleton: Skeleton) -> dict[str, Any]:
    """Return ``images``, ``annotations`` and ``categories``, numbered from 1.

    A joint is x, y, v in pixels with edges at integers; one outside of its picture is 0, 0, 0. A joint's
    ``keypoint_scores`` is its heatmap's peak, and a person's ``score`` their mean. ``bbox`` is the square
    that was looked at.

    Args:
        predictions: By picture.
        skeleton: Names and limbs of the joints.
    """
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for picture in predictions:
        height, width = picture.image_bgr.shape[:2]
        images.append({"id": len(images) + 1, "file_name": picture.path.name, "width": width, "height": height})
        for box, joints_px, confidence in zip(picture.boxes, picture.joints_px, picture.confidence, strict=True):
            inside = in_picture(joints_px, width, height)
            keypoints = [
                value
                for (x, y), there in zip(joints_px.tolist(), inside.tolist(), strict=True)
                for value in ((round(x, 2), round(y, 2), _SEEN) if there else (0, 0, 0))
            ]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "bbox": [round(value, 2) for value in box],
                    "keypoints": keypoints,
                    "num_keypoints": int(inside.sum()),
                    "score": round(float(confidence.mean()), 4),
                    "keypoint_scores": [round(value, 4) for value in confidence.tolist()],
                }
            )
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[first + 1, second + 1] for first, second in skeleton.limb_indices],
    }
    return {"images": images, "annotations": annotations, "categories": [category]}
