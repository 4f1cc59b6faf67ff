"""A run that follows the machines there are: one worker, two, and one again, within an epoch."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from command_runs import settings, start

from ray_advpose.cluster.runtime import joined_ray
from ray_advpose.cluster.sample_log import last_step, read_samples
from ray_advpose.cluster.storage import store_at
from ray_advpose.cluster.worker_records import read_workers
from ray_advpose.config import load_config
from ray_advpose.data.shards import ShardSet
from ray_advpose.drill.leaks import still_held
from ray_advpose.drill.nodes import local_nodes
from ray_advpose.training.schedule import make_schedule

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

# A batch of 13 is 7 and 6 images for two workers.
SETTINGS = settings(
    run__global_batch_size=13,
    run__sync_batchnorm="true",
    run__log_samples="true",
    run__checkpoint_every_s=2,
    stages__pose_epochs=4000,
    stages__pretrain_images=13,
)


def test_every_step_is_the_same_for_whatever_number_of_workers(tmp_path, people):
    output = tmp_path / "run"
    with local_nodes(cpus=1) as nodes:
        command = start(
            "train.py", "--data", people, "--out", output, "--workers", "1:2", "--cluster", nodes.address,
            *SETTINGS, cwd=tmp_path,
        )  # fmt: skip
        wait_for(lambda: last_step(output) >= 40, command)
        joined = nodes.add()
        wait_for(lambda: starts(output)[-1].workers == 2, command)
        grown_at = last_step(output)
        wait_for(lambda: last_step(output) >= grown_at + 40, command)
        nodes.remove(joined)
        wait_for(lambda: starts(output)[-1].workers == 1, command)
        shrunk_at = last_step(output)
        wait_for(lambda: last_step(output) >= shrunk_at + 40, command)
        command.send_signal(signal.SIGTERM)
        printed, _ = command.communicate(timeout=60)
        assert command.returncode == 143, printed
        with joined_ray(nodes.address):
            assert not still_held(timeout_s=15)

    assert [record.workers for record in starts(output)] == [1, 2, 1]
    assert all(record.step > 0 for record in starts(output)[1:]), "a start went back to the beginning"
    shards = ShardSet.open(people)
    schedule = make_schedule(load_config(output / "config.yaml"), shards.count("train"))
    # Reading checks that steps which were trained twice, by one worker and by two, held the same pictures.
    steps = read_samples(output)
    assert set(steps) == set(range(store_at(str(output / "checkpoints")).steps()[-1]))
    for step, slots in steps.items():
        assert sorted(slots) == list(range(13))
        assert np.array_equal([slots[slot][0] for slot in range(13)], schedule.samples(step))


def starts(output):
    return read_workers(output, rank=0)


def wait_for(condition, command, timeout_s=180):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if command.poll() is not None:
            raise AssertionError(command.communicate()[0])
        assert time.monotonic() < deadline
        time.sleep(0.05)
