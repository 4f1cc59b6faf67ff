"""The stream against what the schedule says it must be."""

from __future__ import annotations

import time

import numpy as np
import pytest
import ray.data

from ray_advpose.data import stream as streaming
from ray_advpose.data.rest import RestWhileTraining
from ray_advpose.data.rows import read_steps
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.data.stream import StreamKeeper, stream_batches
from ray_advpose.presets import QUICK
from ray_advpose.training.schedule import make_schedule

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "shards"
    write_shards(generate_synthetic(persons=60), folder, box_px=32)
    return ShardSet.open(folder)


@pytest.mark.parametrize("executions", ["one", "several"])
def test_two_workers_streams_are_the_scheduled_rows_from_any_step_on(executions, shards, clean_cluster, monkeypatch):
    if executions == "several":
        monkeypatch.setattr(streaming, "_IMAGES_PER_BLOCK", 8)
        monkeypatch.setattr(streaming, "_TASKS_PER_EXECUTION", 1)
    begun, dataset = [], streaming._dataset
    monkeypatch.setattr(streaming, "_dataset", lambda *given: begun.append(given) or dataset(*given))
    config = QUICK.replaced({"stages.pose_epochs": 2, "stages.pretrain_images": 20, "run.global_batch_size": 8})
    schedule = make_schedule(config, shards.count("train"))
    start = 5
    for rank in (0, 1):
        slots = np.arange(rank, 8, 2)
        steps = []
        for batch in stream_batches(shards, schedule, start, rank, world_size=2):
            expected = read_steps(shards, schedule, range(batch.step, batch.step + 1), slots)
            steps.append(batch.step)
            assert np.array_equal(batch.slot.numpy(), slots)
            assert np.array_equal(batch.sample.numpy(), schedule.samples(batch.step)[slots])
            assert np.array_equal(batch.canvas.numpy(), expected["canvas"])
            assert np.array_equal(batch.joints_cv.numpy(), expected["joints_cv"])
            assert np.array_equal(batch.annotated.numpy(), expected["annotated"])
            assert np.array_equal(batch.normalizer_cv.numpy(), expected["normalizer_cv"], equal_nan=True)
        assert steps == list(range(start, schedule.total_steps))
    assert (len(begun) == 2) == (executions == "one")


def test_a_finished_run_has_nothing_left_to_stream(shards):
    schedule = make_schedule(QUICK, shards.count("train"))
    assert list(stream_batches(shards, schedule, schedule.total_steps, 0, 1)) == []


def test_the_scheduling_loop_rests_while_the_trainer_trains(shards, clean_cluster, monkeypatch):
    rests = []
    rest = RestWhileTraining.on_execution_step
    monkeypatch.setattr(RestWhileTraining, "on_execution_step", lambda self, ex: (rests.append(ex), rest(self, ex)))
    schedule = make_schedule(QUICK.replaced({"stages.pretrain_images": 20}), shards.count("train"))
    stream = stream_batches(shards, schedule, 0, 0, 1)
    next(stream)
    before, begun = len(rests), time.monotonic()
    time.sleep(1)  # a trainer's step
    loops, seconds = len(rests) - before, time.monotonic() - begun
    stream.close()
    # Ray calls back after each step of its loop; a Ray that stopped doing so would let it spin.
    assert rests
    assert loops <= 25 * seconds


def test_ray_still_has_the_setting_that_lets_a_task_end_by_itself():
    assert ray.data.DataContext()._max_num_blocks_in_streaming_gen_buffer > 0


def test_a_kept_stream_goes_on_where_it_was_left_and_only_there(shards, clean_cluster):
    config = QUICK.replaced({"stages.pretrain_images": 20, "run.global_batch_size": 8})
    schedule = make_schedule(config, shards.count("train"))
    keeper = StreamKeeper()

    def steps(start, count):
        with keeper.streaming(shards, schedule, start, 0, 1) as stream:
            return stream, [next(stream).step for _ in range(count)]

    first, trained = steps(0, 3)
    assert trained == [0, 1, 2]
    again, trained = steps(3, 2)
    assert trained == [3, 4]
    assert again is first, "started anew"
    other, trained = steps(4, 1)
    assert trained == [4]
    assert other is not first, "went on from the wrong step"
    with pytest.raises(RuntimeError, match="training failed"), keeper.streaming(shards, schedule, 5, 0, 1):
        raise RuntimeError("training failed")
    _, trained = steps(5, schedule.total_steps - 5)
    assert trained[-1] == schedule.total_steps - 1
    with pytest.raises(StopIteration), keeper.streaming(shards, schedule, schedule.total_steps, 0, 1) as stream:
        next(stream)
