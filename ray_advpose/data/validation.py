"""Predicting and scoring a split of prepared data; read directly, a stream would cost its start-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from ray_advpose.data.persons import Protocol, Split
from ray_advpose.data.prediction_files import write_predictions
from ray_advpose.data.shards import PersonArrays, ShardSet, read_persons
from ray_advpose.errors import UserError
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.pose.metrics import Score, score
from ray_advpose.training.evaluation import EvaluationBatch, predict
from ray_advpose.training.pose_step import Task


@dataclass(frozen=True)
class Truth:
    """Ground truth of a split, and its names.

    Attributes:
        person_id: N names.
        joints_px: (N, J, 2) float64 in original-image pixels.
        annotated: (N, J) bool.
        normalizer_px: (N,) float64, NaN where unknown.
    """

    person_id: list[str]
    joints_px: np.ndarray
    annotated: np.ndarray
    normalizer_px: np.ndarray


@dataclass(frozen=True)
class SplitPredictions:
    """What a pose net predicts on a split, with what scores it.

    Attributes:
        predictions_px: (N, J, 2) float64 in original-image pixels.
        truth: Names and ground truth of the split.
        protocol: How the data is scored.
        decoder: How heatmaps became joints.
        flip_test: Whether heatmaps were averaged with the mirrored crop's.
    """

    predictions_px: np.ndarray
    truth: Truth
    protocol: Protocol
    decoder: str
    flip_test: bool

    def write(self, path: Path) -> None:
        """Write a file that scores itself (`ray_advpose.data.rescoring.score_file`); whole or not at all."""
        write_predictions(
            path,
            self.predictions_px,
            self.truth.person_id,
            self.truth.joints_px,
            self.truth.annotated,
            self.truth.normalizer_px,
            protocol=self.protocol,
            decoder=self.decoder,
            flip_test=self.flip_test,
        )

    def score(self) -> Score:
        """Score the predictions as the data is scored."""
        truth = self.truth
        return score(self.protocol, self.predictions_px, truth.joints_px, truth.annotated, truth.normalizer_px)


class ScoredSplit:
    """A split that pose nets are scored on, by all workers together."""

    def __init__(self, shards: ShardSet, split: Split, task: Task) -> None:
        """Take the split; `UserError` if the data set has no person in it."""
        if shards.count(split) == 0:
            raise UserError(f"{shards.place}: split {split!r} has no persons to score")
        self._shards = shards
        self._split = split
        self._task = task

    def predict(self, pose_net: BridgedPoseNet, flip_test: bool = False) -> SplitPredictions:
        """Predict; every worker predicts its part and returns the whole."""
        predictions_px = self.predictions(pose_net, flip_test)
        protocol, decoder = self._shards.manifest.protocol, self._task.config.loss.decoder
        return SplitPredictions(predictions_px, self.truth, protocol, decoder, flip_test)

    def predictions(self, pose_net: BridgedPoseNet, flip_test: bool = False) -> np.ndarray:
        """Return (N, J, 2) predictions in original-image pixels, on every worker."""
        rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        count = self._shards.count(self._split)
        mine = np.arange(rank, count, workers)
        found = predict(pose_net, self._batches(mine), self._task, flip_test).joints_px
        if workers == 1:
            return found
        parts: list[np.ndarray] = [found] * workers
        dist.all_gather_object(parts, found)
        whole = np.empty((count, *found.shape[1:]))
        for part, predictions in enumerate(parts):
            whole[part::workers] = predictions
        return whole

    @cached_property
    def truth(self) -> Truth:
        """The ground truth of the split."""
        parts = [
            self._read(part) for part in np.array_split(np.arange(self._shards.count(self._split)), self._pieces())
        ]
        return truth_of(parts)

    def _pieces(self) -> int:
        return -(-self._shards.count(self._split) // self._task.config.run.eval_batch_size)

    def _batches(self, indices: np.ndarray) -> Iterator[EvaluationBatch]:
        size = self._task.config.run.eval_batch_size
        for start in range(0, len(indices), size):
            persons = self._read(indices[start : start + size])
            yield EvaluationBatch(torch.tensor(persons.canvas), torch.tensor(persons.image_from_canvas))

    def _read(self, indices: np.ndarray) -> PersonArrays:
        return read_persons(self._shards, self._split, indices)


def truth_of(parts: Sequence[PersonArrays]) -> Truth:
    """Return the ground truth of persons that were read in parts, at least one."""
    return Truth(
        person_id=[name for part in parts for name in part.person_id],
        joints_px=np.concatenate([_joints_px(part) for part in parts]),
        annotated=np.concatenate([part.annotated for part in parts]),
        normalizer_px=np.concatenate([part.normalizer_px for part in parts]),
    )


def _joints_px(persons: PersonArrays) -> np.ndarray:
    matrix = persons.image_from_canvas
    turned: np.ndarray = np.einsum("nij,nkj->nki", matrix[:, :, :2], persons.joints_cv.astype(np.float64))
    return turned + matrix[:, None, :, 2]
