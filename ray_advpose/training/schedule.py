"""The three stages as one run of global steps, and where in them a step lies.

Everything here is arithmetic on the config and the size of the data set: workers, streams and
reports agree on a step's stage, epoch and samples without talking to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ray_advpose.config import Config
from ray_advpose.counter import Purpose, generator
from ray_advpose.errors import UserError


class Stage(IntEnum):
    """The stages of Section 5.1, "Training", in their order."""

    POSE = 1
    PRETRAIN = 2
    JOINT = 3

    @property
    def label(self) -> str:
        """Lower-case name for reports."""
        return self.name.lower()


@dataclass(frozen=True)
class Span:
    """The consecutive global steps of one stage."""

    stage: Stage
    first_step: int
    steps: int
    epochs: int
    images: int

    @property
    def end_step(self) -> int:
        """The first global step after the stage."""
        return self.first_step + self.steps


@dataclass(frozen=True)
class Position:
    """Where a global step lies.

    Attributes:
        stage: Its stage.
        epoch: Epoch within the stage, counted from 0.
        ends_epoch: Whether it is the last step of that epoch.
    """

    stage: Stage
    epoch: int
    ends_epoch: bool


@dataclass(frozen=True)
class Schedule:
    """All steps of a run.

    A stage reads its images as one endless row of shuffled epochs, cut into batches: every image
    comes exactly once an epoch, every batch is full, and a batch may straddle two epochs. An epoch
    ends with the step that reads its last image.
    """

    seed: int
    batch_size: int
    spans: tuple[Span, ...]
    pretrain_subset: tuple[int, ...] | None
    """Indices of the images of stage 2, or None when it uses all of them."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.spans[-1].end_step

    def span(self, step: int) -> Span:
        """Return the stage span that a global step lies in."""
        assert 0 <= step < self.total_steps
        return next(span for span in self.spans if step < span.end_step)

    def position(self, step: int) -> Position:
        """Return where a global step lies."""
        span = self.span(step)
        within = step - span.first_step
        epoch = min(within * self.batch_size // span.images, span.epochs - 1)
        last = (within + 1) * self.batch_size >= (epoch + 1) * span.images
        return Position(span.stage, epoch, ends_epoch=last)

    def epoch_end(self, step: int) -> int:
        """Return the first global step after the epoch that a step lies in."""
        span = self.span(step)
        images = (self.position(step).epoch + 1) * span.images
        return span.first_step + -(-images // self.batch_size)

    def samples(self, step: int) -> np.ndarray:
        """Return the (B,) int64 data-set indices of a global batch, slot by slot."""
        span = self.span(step)
        places = np.arange(self.batch_size, dtype=np.int64) + (step - span.first_step) * self.batch_size
        epochs, within = np.divmod(places, span.images)
        indices = np.empty_like(places)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            indices[mine] = self._permutation(span, int(epoch))[within[mine]]
        return indices

    def _permutation(self, span: Span, epoch: int) -> np.ndarray:
        order = generator(self.seed, Purpose.SAMPLE_ORDER, span.stage, epoch).permutation(span.images)
        if span.stage is Stage.PRETRAIN and self.pretrain_subset is not None:
            order = np.asarray(self.pretrain_subset)[order]
        return order


def make_schedule(config: Config, train_images: int) -> Schedule:
    """Lay out the stages of a run; stages 2 and 3 keep their length with both arms off.

    Without an augmentation network stage 2 has nothing to train and is left out; stage 3 goes on
    with random augmentation alone, so that every arm gives D the same number of images.

    Raises:
        UserError: A stage has fewer images than a batch.
    """
    stages = config.stages
    batch = config.run.global_batch_size
    wanted = stages.pretrain_images or train_images
    subset = None
    if wanted < train_images:
        rng = generator(config.run.seed, Purpose.PRETRAIN_SUBSET)
        subset = tuple(int(index) for index in np.sort(rng.choice(train_images, wanted, replace=False)))
    lengths = [(Stage.POSE, stages.pose_epochs, train_images)]
    if config.adversarial:
        lengths.append((Stage.PRETRAIN, stages.pretrain_epochs, min(wanted, train_images)))
    lengths.append((Stage.JOINT, stages.joint_epochs, train_images))
    spans: list[Span] = []
    first = 0
    for stage, epochs, images in lengths:
        if images < batch:
            raise UserError(
                f"stage {stage.label} has {images} images (stages.pretrain_images = {stages.pretrain_images}),"
                f" fewer than run.global_batch_size = {batch}"
            )
        steps = -(-epochs * images // batch)
        spans.append(Span(stage, first, steps, epochs, images))
        first += steps
    return Schedule(config.run.seed, batch, tuple(spans), subset)
