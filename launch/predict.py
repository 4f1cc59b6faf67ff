"""Find the joints of people in pictures: ``python launch/predict.py --checkpoint DIR IMAGE...``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ray_advpose.data.array_files import persons_text
from ray_advpose.data.pictures import Bbox, check_pictures, listed_pictures, parse_box, read_boxes
from ray_advpose.data.predicting import Predictor
from ray_advpose.errors import UserError, run_command
from ray_advpose.report.clock import told_now_and_then
from ray_advpose.report.predicted_folder import KEYPOINTS, check_out, write_folder


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
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X,Y,W,H",
        help="a person's box in pixels; repeatable; with a minus in front: --box=-5,0,90,200",
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="boxes of many pictures, as COCO's detections")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored crop's heatmaps")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: a GPU where there is one)")
    parser.add_argument("--batch-size", type=int, default=50, help="persons at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict all pictures; what comes out appears when all is done."""
    # A terminated run must remove what it has half written, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args = build_parser().parse_intermixed_args(arguments)
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: expected at least 1")
    wanted = _wanted(args)
    check_out(args.out, (path for path, _ in wanted))
    predictor = Predictor(args.checkpoint, args.device, args.flip_test)
    if len(wanted) > 1:  # a single one is read but once
        check_pictures(wanted, told_now_and_then("pictures checked"))
    tell = told_now_and_then("pictures predicted")
    predictions = predictor(wanted, args.batch_size)
    content = write_folder(args.out, predictions, predictor.skeleton, lambda done: tell(done, len(wanted)))
    pictures = f"{len(wanted)} picture{'s' * (len(wanted) > 1)}"
    print(f"{persons_text(len(content['annotations']))} in {pictures}: {args.out / KEYPOINTS}, overlays beside it")
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


if __name__ == "__main__":
    sys.exit(run_command(main))
