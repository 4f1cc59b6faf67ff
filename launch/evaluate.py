"""Score a checkpoint or a file of predictions: ``python launch/evaluate.py --checkpoint DIR --data DIR``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2

from ray_advpose.data.embedded import embedded_data
from ray_advpose.data.persons import SPLITS, Split
from ray_advpose.data.rescoring import FileScore, score_file
from ray_advpose.data.scoring import predict_checkpoint
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError, run_command
from ray_advpose.pose.protocols import PCK_THRESHOLDS
from ray_advpose.report.score_table import score_json, score_table
from ray_advpose.report.validation_picture import prediction_picture

_CHECKPOINT_FLAGS = ("data", "split", "flip_test", "out")
_PREDICTIONS_FLAGS = ("ground_truth", "protocol")


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Predict a split with a checkpoint and score the predictions, or score a file of predictions."
    )
    parser.add_argument("--checkpoint", type=Path, help="folder of a checkpoint")
    parser.add_argument("--data", metavar="DIR|URI", help="prepared data (default: the embedded drawn people)")
    parser.add_argument("--split", choices=SPLITS, help="(default: val)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored crop's heatmaps")
    parser.add_argument("--out", type=Path, help="folder for predictions.npz and predictions.png (default: none)")
    parser.add_argument("--predictions", type=Path, help="instead of --checkpoint: a .npz, .mat or .h5 file to score")
    parser.add_argument(
        "--ground-truth",
        type=Path,
        help="MPII's valid.h5, a joints.mat of LSP or LSPET, or a predictions.npz (default: what is in --predictions)",
    )
    parser.add_argument(
        "--protocol", choices=tuple(PCK_THRESHOLDS), help="how to score (default: as the ground truth is scored)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict if asked to, score a file of predictions, and print."""
    args = build_parser().parse_args(arguments)
    _check_flags(args)
    if args.predictions:
        _print(score_file(args.predictions, args.ground_truth, args.protocol), args.json)
    else:
        _evaluate_checkpoint(args)
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    if bool(args.checkpoint) == bool(args.predictions):
        raise UserError("give either --checkpoint, to predict and score, or --predictions, to score a file")
    mode, foreign = ("checkpoint", _PREDICTIONS_FLAGS) if args.checkpoint else ("predictions", _CHECKPOINT_FLAGS)
    for flag in foreign:
        if getattr(args, flag):
            raise UserError(f"--{flag.replace('_', '-')} does not go with --{mode}")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file, expected a folder")


def _evaluate_checkpoint(args: argparse.Namespace) -> None:
    split: Split = args.split or "val"
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(sys.stderr):  # --json promises one object and nothing else
            shards = ShardSet.open(args.data or embedded_data())
        predicted = predict_checkpoint(args.checkpoint, shards, split, args.flip_test)
        folder = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        predictions, picture = folder / "predictions.npz", folder / "predictions.png"
        # What is scored is the file, so that whoever has it gets the same figures from it.
        predicted.write(predictions)
        _print(score_file(predictions), args.json)
        if args.out:
            drawn = prediction_picture(shards, split, predicted.predictions_px)
            cv2.imwrite(str(picture), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
            if not args.json:
                print(f"{predictions}\n{picture}")


def _print(scored: FileScore, as_json: bool) -> None:
    print(score_json(scored) if as_json else score_table(scored))


if __name__ == "__main__":
    sys.exit(run_command(main))
