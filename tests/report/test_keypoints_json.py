from __future__ import annotations

from pathlib import Path

import numpy as np

from ray_advpose.data.predicting import PicturePrediction
from ray_advpose.pose.skeleton import LSP
from ray_advpose.report.keypoints_json import coco_keypoints


def test_persons_are_written_as_coco_has_them():
    joints_px = np.full((2, 14, 2), 10.126)
    joints_px[0, 1] = [40.5, 3]  # outside of the picture
    joints_px[1, 2] = np.nan
    joints_px[1, 3] = [39.99, 29.99]
    joints_px[1, 4] = [10, 30]  # the border itself is outside: pixels end there
    confidence = np.full((2, 14), 0.5, np.float32)
    pictures = [
        PicturePrediction(
            Path("x/empty.jpg"), np.zeros((5, 5, 3), np.uint8), [], np.empty((0, 14, 2)), np.empty((0, 14))
        ),
        PicturePrediction(
            Path("x/two.jpg"), np.zeros((30, 40, 3), np.uint8), [(0, 0, 5, 5)] * 2, joints_px, confidence
        ),
    ]
    content = coco_keypoints(pictures, LSP)
    assert content["images"] == [
        {"id": 1, "file_name": "empty.jpg", "width": 5, "height": 5},
        {"id": 2, "file_name": "two.jpg", "width": 40, "height": 30},
    ]
    first, second = content["annotations"]
    assert [each["image_id"] for each in (first, second)] == [2, 2]
    assert [each["id"] for each in (first, second)] == [1, 2]
    assert first["keypoints"][:6] == [10.13, 10.13, 2, 0, 0, 0]
    assert second["keypoints"][6:15] == [0, 0, 0, 39.99, 29.99, 2, 0, 0, 0]
    assert second["num_keypoints"] == 12
    assert (first["num_keypoints"], len(first["keypoints"]), first["score"]) == (13, 3 * 14, 0.5)
    assert first["keypoint_scores"] == [0.5] * 14
    (category,) = content["categories"]
    assert category["keypoints"] == list(LSP.joints)
    assert all(1 <= joint <= 14 for limb in category["skeleton"] for joint in limb)
