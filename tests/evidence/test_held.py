from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import task_for
from ray_advpose.data.validation import ScoredSplit
from ray_advpose.evidence.held import decode_split, subset_of
from ray_advpose.evidence.one_run import Means
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.evaluation import predict
from ray_advpose.training.schedule import make_schedule
from ray_advpose.training.state import make_state


def test_batches_are_those_of_the_stream(means: Means, drawn_people: ShardSet, base: Config):
    train = means.splits["train"]
    schedule = make_schedule(base, len(train))
    held = list(train.batches(schedule, 2, np.arange(len(train))))
    assert len(held) == schedule.total_steps - 2
    for batch in held:
        step = range(batch.step, batch.step + 1)
        rows = read_steps(drawn_people, schedule, step, np.arange(schedule.batch_size))
        streamed = CanvasBatch.from_rows(batch.step, rows)
        for field in fields(CanvasBatch):
            ours, theirs = getattr(batch, field.name), getattr(streamed, field.name)
            if field.name == "normalizer_cv":
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
            else:
                assert ours == theirs if field.name == "step" else torch.equal(ours, theirs), field.name


def test_predictions_are_those_of_a_split_that_is_read(means: Means, drawn_people: ShardSet, base: Config):
    task = task_for(base, drawn_people)
    pose_net = make_state(base, 14, means.device).pose_net
    held = means.splits["val"]
    read = ScoredSplit(drawn_people, "val", task).predict(pose_net)
    found = predict(pose_net, held.evaluated(base.run.eval_batch_size), task).joints_px
    np.testing.assert_array_equal(found, read.predictions_px)
    for name, value in vars(read.truth).items():
        ours = getattr(held.truth, name)
        assert ours == value if isinstance(value, list) else np.array_equal(ours, value, equal_nan=value.dtype != bool)


def test_smaller_sets_lie_in_larger_ones_and_are_no_first_images():
    small, large, whole = (subset_of(45, count) for count in (10, 30, 45))
    assert set(small) < set(large) < set(whole) == set(range(45))
    assert small.tolist() != list(range(10))
    assert (np.diff(small) > 0).all()


def test_an_epoch_of_a_smaller_set_has_as_many_steps_and_uses_each_image_alike(means: Means, base: Config):
    train = means.splits["train"]
    schedule = make_schedule(base.replaced({"asr.enabled": False, "aho.enabled": False}), len(train))
    subset = subset_of(len(train), 15)
    steps = -(-len(train) * base.stages.pose_epochs // base.run.global_batch_size)
    samples = np.concatenate([b.sample.numpy() for b in train.batches(schedule, 0, subset) if b.step < steps])
    found, counts = np.unique(samples[: len(train) * base.stages.pose_epochs], return_counts=True)
    assert found.tolist() == subset.tolist()
    assert set(counts.tolist()) == {3 * base.stages.pose_epochs}


def test_a_split_that_was_cut_off_is_decoded_again(drawn_people: ShardSet, canvases, tmp_path):
    (tmp_path / "val.npy").write_bytes(b"half")
    decode_split(drawn_people, "val", tmp_path, threads=1)
    assert (tmp_path / "val.npy").read_bytes() == (canvases / "val.npy").read_bytes()
    written = (tmp_path / "val.npz").stat().st_mtime_ns
    decode_split(drawn_people, "val", tmp_path, threads=1)
    assert (tmp_path / "val.npz").stat().st_mtime_ns == written


@pytest.mark.parametrize("size", [1, 4, 100])
def test_persons_are_evaluated_once_and_in_order(means: Means, size: int):
    held = means.splits["test"]
    parts = list(held.evaluated(size))
    assert torch.equal(torch.cat([part.canvas for part in parts]), held.canvas)
    assert max(len(part.canvas) for part in parts) <= size
