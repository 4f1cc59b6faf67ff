"""What a checkpoint predicts on a split, and what that is worth: networks from its folder, predictions, score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ray_advpose.data.array_files import persons_text
from ray_advpose.data.persons import Split
from ray_advpose.data.rescoring import caption_with
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import task_for
from ray_advpose.data.truth_files import score_normalizer_px
from ray_advpose.data.validation import ScoredSplit, SplitPredictions, Truth
from ray_advpose.errors import UserError
from ray_advpose.pose.score import Score
from ray_advpose.training.checkpoint import data_identity, read_config, read_manifest
from ray_advpose.training.restoring import load_networks
from ray_advpose.training.state import make_state


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint's predictions on a split, and what they are worth.

    Attributes:
        predictions_px: (N, J, 2) float64 in original-image pixels.
        score: Under the data's protocol.
        caption: The definition behind the score, with decoder and flip test.
    """

    predictions_px: np.ndarray
    score: Score
    caption: str


def predict_checkpoint(folder: Path, shards: ShardSet, split: Split, flip_test: bool) -> SplitPredictions:
    """Predict a split with a checkpoint's pose network.

    Raises:
        UserError: The checkpoint is not whole, its joints are not the data's, the split is empty, or
            nobody in it has a usable normaliser.
    """
    manifest = read_manifest(folder)
    trained_on = data_identity(manifest).skeleton
    if trained_on != shards.manifest.skeleton:
        raise UserError(
            f"{folder} predicts the joints of {trained_on!r}, but {shards.place} is annotated with those of"
            f" {shards.manifest.skeleton!r}"
        )
    config = read_config(folder)
    task = task_for(config, shards)
    scored = ScoredSplit(shards, split, task)
    _require_normalizer(scored.truth, shards, split)
    state = make_state(config, len(task.skeleton.joints), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    load_networks(folder, state)
    return scored.predict(state.pose_net, flip_test)


def score_checkpoint(folder: Path, shards: ShardSet, split: Split, flip_test: bool) -> ScoredCheckpoint:
    """Predict a split with a checkpoint's pose network and score the predictions.

    Raises:
        UserError: As `predict_checkpoint`.
    """
    found = predict_checkpoint(folder, shards, split, flip_test)
    result = found.score()
    caption = caption_with(result, found.decoder, found.flip_test)
    return ScoredCheckpoint(found.predictions_px, result, caption)


def _require_normalizer(truth: Truth, shards: ShardSet, split: Split) -> None:
    """Refuse a split that cannot be scored before it is predicted."""
    found = score_normalizer_px(shards.manifest.protocol, truth.joints_px, truth.annotated, truth.normalizer_px)
    if not (np.isfinite(found) & (found > 0)).any():
        raise UserError(
            f"{shards.place}: none of {persons_text(len(found))} in split {split!r} has a positive finite"
            " normaliser, nothing to score"
        )
