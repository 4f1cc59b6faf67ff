"""What is looked at when an epoch has ended: D's score, how hard each augmentation is, what inputs look like."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from ray_advpose.cluster.records import RunRecords
from ray_advpose.cluster.run_files import BEFORE_JOINT, LATEST
from ray_advpose.data.probe_images import read_probe_images
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.validation import ScoredSplit, SplitPredictions
from ray_advpose.pose.score import Score
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.glimpse import glimpse
from ray_advpose.training.history import EpochRecord, Probe, Validation
from ray_advpose.training.pose_stage import ends_pose_stage
from ray_advpose.training.pose_step import Task
from ray_advpose.training.probe import measure_probe
from ray_advpose.training.schedule import Stage
from ray_advpose.training.state import TrainState

_SHOWN_INPUTS = 6


class Examination:
    """Examines the networks of a run at the ends of its epochs.

    Every worker validates its part; the rest is rank 0's, the one with records.

    Args:
        state: The run's networks.
        task: Config and data geometry.
        shards: Prepared data.
        output: The run's folder.
        records: Of the run; None on other ranks.
    """

    def __init__(
        self, state: TrainState, task: Task, shards: ShardSet, output: Path, records: RunRecords | None
    ) -> None:
        self._state = state
        self._task = task
        self._shards = shards
        self._output = output
        self._records = records
        self._split = ScoredSplit(shards, "val", task)
        self._predicted: SplitPredictions | None = None

    def validate(self) -> Validation:
        """Score D on the validation split; called on every worker."""
        self._predicted = self._split.predict(self._state.pose_net)
        score: Score = self._predicted.score()
        if self._records is not None:
            self._records.validated(score)
        return Validation.of(score)

    def probe(self) -> Probe | None:
        """Measure how hard each bin and cell is; None where nobody records it."""
        if self._records is None or self._images is None:
            return None
        state = self._state
        return measure_probe(self._task, self._images, state.pose_net, state.asr_net, state.aho_net)

    def epoch_ended(self, record: EpochRecord, share_pose_stage: Path | None) -> None:
        """Leave the epoch's predictions, and a picture of inputs.

        Args:
            record: Of the epoch.
            share_pose_stage: Where the end of stage 1 will be put for other runs, predictions beside it.
        """
        if self._records is not None:
            with _costing_no_training(self._records):
                self._leave(self._records, record, share_pose_stage)

    def _leave(self, records: RunRecords, record: EpochRecord, share_pose_stage: Path | None) -> None:
        if self._predicted is not None and ends_pose_stage(record, self._state.config):
            self._predicted.write(self._output / BEFORE_JOINT)
            if share_pose_stage is not None:
                share_pose_stage.parent.mkdir(parents=True, exist_ok=True)
                self._predicted.write(_beside(share_pose_stage))
        if self._predicted is not None and record.stage == Stage.JOINT.label:
            self._predicted.write(self._output / LATEST)
        # Stage 2 trains nothing on augmented images.
        if self._images is not None and record.stage != Stage.PRETRAIN.label:
            joint = record.stage == Stage.JOINT.label
            seen = glimpse(self._task, self._state, self._images, _SHOWN_INPUTS, joint)
            records.inputs(seen, self._task.skeleton, record.step)

    def take_over(self, pose_stage: Path) -> None:
        """Take the predictions that lie beside another run's stage 1, which this run goes on from."""
        if self._records is not None and _beside(pose_stage).is_file():
            with _costing_no_training(self._records):
                shutil.copyfile(_beside(pose_stage), self._output / BEFORE_JOINT)

    def become_a_copy(self) -> None:
        """Forget the predictions of the networks that another trial's have taken the place of."""
        if self._records is not None:
            with _costing_no_training(self._records):
                (self._output / LATEST).unlink(missing_ok=True)

    @cached_property
    def _images(self) -> CanvasBatch | None:
        images = read_probe_images(self._shards, self._state.config.run.probe_images)
        return None if images is None else images.to(self._state.device)


@contextmanager
def _costing_no_training(records: RunRecords) -> Iterator[None]:
    """What is only looked at must not end the training that it shows."""
    try:
        yield
    except OSError as error:
        records.logger.warning("predictions or inputs cannot be written: %s; training goes on", error)


def _beside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.predictions.npz")
