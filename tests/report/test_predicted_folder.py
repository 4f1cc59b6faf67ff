from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ray_advpose.data.predicting import PicturePrediction
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import LSP
from ray_advpose.report.predicted_folder import KEYPOINTS, check_out, write_folder


def prediction(name, joints_px=None, size_px=(40, 30)):
    joints_px = np.empty((0, 14, 2)) if joints_px is None else joints_px
    image_bgr = np.full((size_px[1], size_px[0], 3), 90, np.uint8)
    confidence = np.zeros(joints_px.shape[:2], np.float32)
    return PicturePrediction(Path(name), image_bgr, [(0.0, 0.0, 5.0, 5.0)] * len(joints_px), joints_px, confidence)


def entries(folder):
    return {path.name for path in folder.iterdir()}


def test_every_picture_has_an_overlay_of_its_own(tmp_path):
    names = ["x/a.jpg", "y/a.png", "z/A.jpg", "z/a_2.jpg"]
    write_folder(tmp_path / "out", map(prediction, names), LSP)
    assert entries(tmp_path) == {"out"}
    assert entries(tmp_path / "out") == {"a.jpg", "a_2.jpg", "A_3.jpg", "a_2_2.jpg", KEYPOINTS}
    assert len(json.loads((tmp_path / "out" / KEYPOINTS).read_text())["images"]) == 4


def test_joints_beyond_the_border_are_not_drawn(tmp_path):
    joints_px = np.full((1, 14, 2), np.nan)
    joints_px[0, LSP.index("right_knee")] = [20, 15]
    joints_px[0, LSP.index("right_ankle")] = [60, 15]
    write_folder(tmp_path, [prediction("a.jpg", joints_px)], LSP)
    drawn = np.abs(cv2.imread(str(tmp_path / "a.jpg")).astype(int) - 90).max(axis=2) > 40
    assert drawn[15, 20]
    assert not drawn[:, 30:].any(), "a limb that ends outside is left out as its end is in the file"


def test_a_picture_too_wide_for_a_jpeg(tmp_path):
    write_folder(tmp_path, [prediction("a.png", size_px=(66_000, 2))], LSP)
    assert entries(tmp_path) == {"a.png", KEYPOINTS}
    assert cv2.imread(str(tmp_path / "a.png")).shape == (2, 66_000, 3)


def test_a_failure_leaves_the_folder_as_it_was(tmp_path):
    write_folder(tmp_path / "out", [prediction("a.jpg")], LSP)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def broken():
        yield prediction("a.jpg", size_px=(9, 9))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", broken(), LSP)
    (tmp_path / "out" / "b.jpg").mkdir()
    with pytest.raises(UserError, match=r"b\.jpg is a folder"):
        write_folder(tmp_path / "out", [prediction("a.jpg", size_px=(9, 9)), prediction("b.jpg")], LSP)
    (tmp_path / "out" / "b.jpg").rmdir()
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert entries(tmp_path) == {"out"}


def test_overlays_never_go_among_the_pictures(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link", tmp_path / "sub" / ".."):
        with pytest.raises(UserError, match="is the folder of"):
            check_out(out, [tmp_path / "a.jpg"])
    check_out(tmp_path / "predictions", [tmp_path / "a.jpg"])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_out(tmp_path / "file", [])
