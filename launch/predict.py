"""Find the joints of people in pictures: ``python launch/predict.py --checkpoint DIR IMAGE...``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ray_advpose.data.pictures import Bbox, listed_pictures, parse_box, read_boxes
from ray_advpose.data.predicting import PicturePrediction, Predictor
from ray_advpose.errors import UserError, run_command
from ray_advpose.report.clock import clock
from ray_advpose.report.keypoints_json import coco_keypoints
from ray_advpose.report.skeletons import draw_skeletons

_KEYPOINTS = "predictions.json"
_TELL_EVERY_S = 5.0


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Draw the skeletons of people into copies of pictures, and write them as COCO keypoints."
        " Without boxes each picture is one person."
    )
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="pictures of any size, or folders of them"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--box", action="append", default=[], metavar="X,Y,W,H", help="a person's box; repeatable")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="boxes of many pictures, as COCO's detections")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored crop's heatmaps")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: a GPU where there is one)")
    parser.add_argument("--batch-size", type=int, default=50, help="persons at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict all pictures; what comes out appears when all is done."""
    args = build_parser().parse_args(arguments)
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: expected at least 1")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file, expected a folder")
    wanted = _wanted(args)
    predictor = Predictor(args.checkpoint, args.device, args.flip_test)
    partial = args.out.absolute().with_name(f".{args.out.absolute().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        predictions = _predict(predictor, wanted, partial, args.batch_size)
        content = coco_keypoints(predictions, predictor.skeleton)
        (partial / _KEYPOINTS).write_text(json.dumps(content, indent=1), encoding="utf-8")
        args.out.mkdir(parents=True, exist_ok=True)
        for path in partial.iterdir():
            path.replace(args.out / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    persons = len(content["annotations"])
    print(f"{persons} {'person' if persons == 1 else 'persons'} in {len(wanted)} pictures: {args.out / _KEYPOINTS}")
    if empty := [path.name for path, boxes in wanted if not boxes]:
        print(f"no box, and so nobody, in {len(empty)} of them: {', '.join(empty[:5])}{', ...' * (len(empty) > 5)}")
    return 0


def _wanted(args: argparse.Namespace) -> list[tuple[Path, Sequence[Bbox | None]]]:
    pictures = listed_pictures(args.images)
    if args.box and args.boxes:
        raise UserError("give either --box, or --boxes for many pictures")
    if args.box and len(pictures) > 1:
        raise UserError(f"--box is for one picture, and {len(pictures)} were given; --boxes FILE has boxes of many")
    if args.boxes:
        return list(read_boxes(args.boxes, pictures).items())
    boxes: list[Bbox | None] = [parse_box(text) for text in args.box] or [None]
    return [(picture, boxes) for picture in pictures]


def _predict(
    predictor: Predictor, wanted: Sequence[tuple[Path, Sequence[Bbox | None]]], folder: Path, batch_size: int
) -> list[PicturePrediction]:
    """Predict, and leave overlays in a folder; returns predictions of pictures without pixels."""
    started = told = time.monotonic()
    done, names = list[PicturePrediction](), set[str]()
    for prediction in predictor(wanted, batch_size):
        overlay = draw_skeletons(prediction.image_bgr[:, :, ::-1], prediction.joints_px, predictor.skeleton)
        cv2.imwrite(str(folder / _name(prediction.path, names)), overlay[:, :, ::-1])
        # Only the size is needed from here on.
        size = np.broadcast_to(np.uint8(0), prediction.image_bgr.shape)
        done.append(replace(prediction, image_bgr=size))
        now = time.monotonic()
        if now - told > _TELL_EVERY_S:
            told = now
            left_s = (now - started) / len(done) * (len(wanted) - len(done))
            print(f"{len(done)}/{len(wanted)} pictures | about {clock(left_s)} left", flush=True)
    return done


def _name(path: Path, taken: set[str]) -> str:
    """Return a name of the overlay that no other picture has."""
    number, name = 1, f"{path.stem}.jpg"
    while name in taken:
        number += 1
        name = f"{path.stem}_{number}.jpg"
    taken.add(name)
    return name


if __name__ == "__main__":
    sys.exit(run_command(main))
