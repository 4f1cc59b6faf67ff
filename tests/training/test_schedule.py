from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_advpose.config import Config
from ray_advpose.errors import UserError
from ray_advpose.training.schedule import Span, Stage, make_schedule


def schedule_of(images, batch=4, pose=2, pretrain=3, joint=1, subset=None, **fields):
    overrides = {
        "run.global_batch_size": batch,
        "stages.pose_epochs": pose,
        "stages.pretrain_epochs": pretrain,
        "stages.joint_epochs": joint,
        "stages.pretrain_images": subset,
        **{name.replace("__", "."): value for name, value in fields.items()},
    }
    return make_schedule(Config().replaced(overrides), images)


def test_stages_follow_each_other_with_rounded_up_steps():
    # 2 x 10 / 4 = 5 steps; 3 x 7 / 4 = 5.25 steps become 6; 1 x 10 / 4 = 2.5 steps become 3.
    schedule = schedule_of(10, subset=7)
    assert schedule.spans == (
        Span(Stage.POSE, 0, 5, 2, 10),
        Span(Stage.PRETRAIN, 5, 6, 3, 7),
        Span(Stage.JOINT, 11, 3, 1, 10),
    )
    assert schedule.total_steps == 14
    assert [schedule.span(step).stage.label for step in (0, 4, 5, 10, 11, 13)] == (
        ["pose", "pose", "pretrain", "pretrain", "joint", "joint"]
    )


def test_positions_of_ten_images_in_batches_of_four():
    # The third batch reads images 8 and 9 of the first epoch and 0 and 1 of the second.
    positions = [schedule_of(10, subset=7).position(step) for step in range(5)]
    assert [position.epoch for position in positions] == [0, 0, 0, 1, 1]
    assert [position.ends_epoch for position in positions] == [False, False, True, False, True]


@settings(max_examples=60)
@given(st.integers(12, 40), st.integers(3, 12), st.integers(1, 4))
def test_every_image_comes_exactly_once_an_epoch(images, batch, epochs):
    schedule = schedule_of(images, batch, pose=epochs)
    row = np.concatenate([schedule.samples(step) for step in range(schedule.spans[0].steps)])
    assert len(row) - epochs * images < batch
    for epoch in range(epochs):
        assert sorted(row[epoch * images : (epoch + 1) * images]) == list(range(images))


@settings(max_examples=60)
@given(st.integers(12, 60), st.integers(3, 12), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_every_epoch_of_every_stage_ends_once(images, batch, pose, pretrain, joint):
    schedule = schedule_of(images, batch, pose, pretrain, joint)
    positions = [schedule.position(step) for step in range(schedule.total_steps)]
    ended = Counter((p.stage, p.epoch) for p in positions if p.ends_epoch)
    wanted = ((Stage.POSE, pose), (Stage.PRETRAIN, pretrain), (Stage.JOINT, joint))
    assert ended == {(stage, epoch): 1 for stage, epochs in wanted for epoch in range(epochs)}


def test_epochs_and_stages_are_shuffled_differently():
    schedule = schedule_of(40, batch=40, pose=2)
    first, second, pretrain = (schedule.samples(step).tolist() for step in (0, 1, 2))
    assert len({tuple(order) for order in (first, second, pretrain, range(40))}) == 4


def test_samples_do_not_depend_on_what_was_asked_before():
    schedule, again = schedule_of(10, subset=7), schedule_of(10, subset=7)
    forwards = [schedule.samples(step).tolist() for step in range(14)]
    backwards = [again.samples(step).tolist() for step in reversed(range(14))]
    assert forwards == backwards[::-1]


def test_seeds_shuffle_differently():
    assert schedule_of(40).samples(0).tolist() != schedule_of(40, run__seed=1).samples(0).tolist()


def test_pretraining_reads_a_seeded_subset():
    schedule = schedule_of(30, subset=7)
    subset = schedule.pretrain_subset
    assert len(set(subset)) == 7
    assert subset == schedule_of(30, subset=7).pretrain_subset != schedule_of(30, subset=7, run__seed=1).pretrain_subset
    span = schedule.spans[1]
    row = np.concatenate([schedule.samples(step) for step in range(span.first_step, span.end_step)])
    for epoch in range(3):
        assert sorted(row[epoch * 7 : (epoch + 1) * 7]) == list(subset)


@pytest.mark.parametrize("subset", [None, 10, 11])
def test_pretraining_reads_all_images_if_it_may(subset):
    schedule = schedule_of(10, subset=subset)
    assert schedule.pretrain_subset is None
    assert schedule.spans[1].images == 10


def test_random_augmentation_alone_has_no_second_stage_and_as_many_pose_steps():
    with_arms = schedule_of(10)
    without = schedule_of(10, asr__enabled=False, aho__enabled=False)
    assert [span.stage for span in without.spans] == [Stage.POSE, Stage.JOINT]
    assert [span.steps for span in without.spans] == [with_arms.spans[0].steps, with_arms.spans[2].steps]
    assert without.spans[1].first_step == without.spans[0].end_step


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(UserError, match=r"stage pretrain has 5 images \(stages\.pretrain_images = 5\)"):
        schedule_of(10, batch=6, subset=5)


@given(images=st.integers(4, 40), batch=st.integers(3, 4), epochs=st.integers(1, 5))
def test_an_epoch_ends_after_the_step_that_ends_it(images, batch, epochs):
    schedule = schedule_of(images, batch, pose=epochs, pretrain=epochs, joint=epochs)
    for step in range(schedule.total_steps):
        ends = [later for later in range(step, schedule.total_steps) if schedule.position(later).ends_epoch]
        assert schedule.epoch_end(step) == ends[0] + 1
