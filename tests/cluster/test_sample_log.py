from __future__ import annotations

import pytest
import torch

from ray_advpose.cluster.sample_log import last_step, logged, logged_bytes, read_samples
from ray_advpose.training.batch import CanvasBatch


def batch(step, slots, samples, shade=0):
    count = len(slots)
    return CanvasBatch(
        step=step,
        slot=torch.tensor(slots),
        sample=torch.tensor(samples),
        canvas=torch.full((count, 4, 4, 3), shade, dtype=torch.uint8),
        joints_cv=torch.zeros(count, 2, 2),
        annotated=torch.ones(count, 2, dtype=torch.bool),
        normalizer_cv=torch.ones(count),
    )


def test_two_workers_logs_are_one_and_a_repeated_step_is_checked(tmp_path):
    assert last_step(tmp_path) == -1
    assert logged_bytes(tmp_path) == 0
    batches = [batch(0, [0, 2], [7, 5]), batch(1, [0, 2], [1, 2])]
    assert list(logged(batches, tmp_path, rank=0)) == batches
    list(logged([batch(0, [1], [6])], tmp_path, rank=1))
    list(logged([batch(1, [0, 2], [1, 2])], tmp_path, rank=0))
    steps = read_samples(tmp_path)
    assert {step: {slot: sample for slot, (sample, _) in slots.items()} for step, slots in steps.items()} == {
        0: {0: 7, 1: 6, 2: 5},
        1: {0: 1, 2: 2},
    }
    assert last_step(tmp_path) == 1
    assert logged_bytes(tmp_path) > 0


@pytest.mark.parametrize("other", [batch(0, [0], [8]), batch(0, [0], [7], shade=1)])
def test_a_step_that_is_not_repeated_alike_is_named(tmp_path, other):
    list(logged([batch(0, [0], [7]), other], tmp_path, rank=0))
    with pytest.raises(ValueError, match="step 0, slot 0 holds sample"):
        read_samples(tmp_path)


def test_a_line_that_was_cut_off_is_not_counted(tmp_path):
    list(logged([batch(0, [0], [7]), batch(1, [0], [8])], tmp_path, rank=0))
    path = next((tmp_path / "samples").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    assert set(read_samples(tmp_path)) == {0}
    assert last_step(tmp_path) == 0
