"""Scoring a checkpoint on a split: networks from its folder, predictions, score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ray_advpose.data.persons import Split
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import task_for
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.errors import UserError
from ray_advpose.pose.metrics import Score, score
from ray_advpose.training.checkpoint import data_identity, load_networks, read_config, read_manifest
from ray_advpose.training.state import make_state


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint's predictions on a split, and what they are worth.

    Attributes:
        predictions_px: (N, J, 2) float64 in original-image pixels.
        person_id: N names.
        score: Under the data's protocol.
        caption: The definition behind the score, with decoder and flip test.
    """

    predictions_px: np.ndarray
    person_id: list[str]
    score: Score
    caption: str


def score_checkpoint(folder: Path, shards: ShardSet, split: Split, flip_test: bool) -> ScoredCheckpoint:
    """Predict a split with a checkpoint's pose network and score the predictions.

    Raises:
        UserError: The checkpoint is not whole, its joints are not the data's, or the split is empty.
    """
    manifest = read_manifest(folder)
    trained_on = data_identity(manifest).skeleton
    if trained_on != shards.manifest.skeleton:
        raise UserError(
            f"{folder} predicts the joints of {trained_on!r}, but {shards.directory} is annotated with those of"
            f" {shards.manifest.skeleton!r}"
        )
    config = read_config(folder)
    task = task_for(config, shards)
    state = make_state(config, len(task.skeleton.joints), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    load_networks(folder, state)
    scored = ScoredSplit(shards, split, task)
    predictions, truth = scored.predictions(state.pose_net, flip_test), scored.truth
    result = score(shards.manifest.protocol, predictions, truth.joints_px, truth.annotated, truth.normalizer_px)
    caption = f"{result.caption}; decoder {config.loss.decoder}, flip test {'on' if flip_test else 'off'}"
    return ScoredCheckpoint(predictions, truth.person_id, result, caption)
