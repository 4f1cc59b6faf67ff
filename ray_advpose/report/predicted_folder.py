"""A folder of pictures with the predicted skeletons on them, and of the file that lists these."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ray_advpose.data.predicting import PicturePrediction
from ray_advpose.errors import UserError
from ray_advpose.pose.skeleton import Skeleton
from ray_advpose.report.keypoints_json import coco_keypoints, in_picture
from ray_advpose.report.skeletons import draw_skeletons

KEYPOINTS = "predictions.json"

# What the JPEG library encodes; OpenCV reads wider pictures from other formats.
_LARGEST_JPEG_PX = 65_500


def check_out(out: Path, pictures: Iterable[Path]) -> None:
    """Check where predictions are to go.

    Raises:
        UserError: It is a file; or a folder of pictures to predict, among which the overlays would lie the
            next time, and which they would replace.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file, expected a folder")
    for picture in pictures:
        if picture.resolve().parent == out.resolve():
            raise UserError(f"--out {out} is the folder of {picture}, which its overlay could replace")


def write_folder(
    out: Path,
    predictions: Iterable[PicturePrediction],
    skeleton: Skeleton,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write an overlay for every picture, and ``predictions.json`` last of all.

    Everything is written beside ``out`` first, so that a failure or an interruption leaves ``out`` as
    it was. Files of the same names are replaced, others stay.

    Args:
        out: Folder, made if it is not there.
        predictions: By picture; may be lazy.
        skeleton: Names and limbs of the joints.
        progress: Called with the pictures done.

    Returns:
        What ``predictions.json`` holds, see `coco_keypoints`.
    """
    out = out.resolve()
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        done: list[PicturePrediction] = []
        stems: set[str] = set()
        for prediction in predictions:
            _write_overlay(partial, _stem(prediction.path, stems), prediction, skeleton)
            # Only the size is needed from here on.
            done.append(replace(prediction, image_bgr=np.broadcast_to(np.uint8(0), prediction.image_bgr.shape)))
            progress(len(done))
        content = coco_keypoints(done, skeleton)
        overlays = sorted(partial.iterdir())
        (partial / KEYPOINTS).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        _move([*overlays, partial / KEYPOINTS], out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return content


def _write_overlay(folder: Path, stem: str, prediction: PicturePrediction, skeleton: Skeleton) -> None:
    height, width = prediction.image_bgr.shape[:2]
    # The picture shows what the file says: no joint beyond the border, and no limb to one.
    inside = in_picture(prediction.joints_px, width, height)
    joints_px = np.where(inside[..., None], prediction.joints_px, np.nan)
    overlay_bgr = draw_skeletons(prediction.image_bgr[:, :, ::-1], joints_px, skeleton)[:, :, ::-1]
    suffix = ".jpg" if max(width, height) <= _LARGEST_JPEG_PX else ".png"
    encoded, data = cv2.imencode(suffix, overlay_bgr)
    assert encoded, "a uint8 picture of such a size always encodes"
    (folder / f"{stem}{suffix}").write_bytes(data.tobytes())


def _stem(path: Path, taken: set[str]) -> str:
    """Return an overlay's name that no other picture's has, also where upper and lower case are one."""
    number, stem = 1, path.stem
    while stem.casefold() in taken:
        number += 1
        stem = f"{path.stem}_{number}"
    taken.add(stem.casefold())
    return stem


def _move(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        if (folder / file.name).is_dir():
            raise UserError(f"{folder / file.name} is a folder, and a file of this name is to be written")
    for file in files:
        file.replace(folder / file.name)
