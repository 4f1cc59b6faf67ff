"""Score a checkpoint on prepared data: ``python launch/evaluate.py --checkpoint DIR --data DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.scoring import score_checkpoint
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import run_command
from ray_advpose.report.score_table import score_table
from ray_advpose.report.validation_picture import prediction_picture


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Predict a split with a checkpoint and score the predictions.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--data", type=Path, help="prepared data (default: the embedded drawn people)")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="(default: %(default)s)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored crop's heatmaps")
    parser.add_argument("--out", type=Path, help="folder for predictions.npz and predictions.png (default: none)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict, score, print, and save if asked to."""
    args = build_parser().parse_args(arguments)
    shards = ShardSet.open(args.data or embedded_data())
    scored = score_checkpoint(args.checkpoint, shards, args.split, args.flip_test)
    print(score_table(scored.score, scored.caption))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        np.savez(
            args.out / "predictions.npz", predictions_px=scored.predictions_px, person_id=np.array(scored.person_id)
        )
        picture = prediction_picture(shards, args.split, scored.predictions_px)
        cv2.imwrite(str(args.out / "predictions.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        print(f"{args.out / 'predictions.npz'}\n{args.out / 'predictions.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
