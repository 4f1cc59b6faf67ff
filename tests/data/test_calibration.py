from __future__ import annotations

import time

import pytest
import torch

from ray_advpose.data.calibration import calibrate

LONG = {"stages.pose_epochs": 500, "stages.pretrain_epochs": 1000, "stages.joint_epochs": 500}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_each_stage_has_a_rate_and_takes_about_as_long_as_asked(tiny_config, drawn_people):
    began = time.monotonic()
    rates = calibrate(tiny_config.replaced(LONG), drawn_people, seconds=0.4)
    took = time.monotonic() - began
    assert list(rates) == ["pose", "pretrain", "joint"]
    assert all(1 < rate < 1e5 for rate in rates.values())
    assert 3 * 0.4 <= took < 3 * 0.4 + 10


def test_without_augmentation_networks_there_are_two_stages(tiny_config, drawn_people):
    config = tiny_config.replaced({**LONG, "asr.enabled": False, "aho.enabled": False})
    rates = calibrate(config, drawn_people, seconds=0.1)
    assert list(rates) == ["pose", "joint"]
    assert all(rate > 1 for rate in rates.values())


def test_a_worker_of_several_is_measured_on_its_part_of_the_batch(tiny_config, drawn_people):
    # One of eight has an eighth of the work at each step; what all eight do is told.
    config = tiny_config.replaced({**LONG, "run.global_batch_size": 40, "stages.pretrain_images": None})
    alone = calibrate(config, drawn_people, seconds=0.5)
    one_of_eight = calibrate(config.replaced({"run.num_workers": 8}), drawn_people, seconds=0.5)
    assert one_of_eight["pose"] > 1.3 * alone["pose"]


def test_a_stage_that_is_short_is_not_measured_on_the_next(tiny_config, drawn_people):
    # Six steps of stage 2 take a small part of the time that is asked for, and stage 3 is several times slower.
    for epochs in (1000, 6):
        config = tiny_config.replaced({**LONG, "stages.pretrain_epochs": epochs})
        rates = calibrate(config, drawn_people, seconds=0.6)
        assert rates["pretrain"] > 1.5 * rates["joint"], f"{epochs} epochs of stage 2"


def test_a_stage_of_one_step_has_a_rate(tiny_config, drawn_people):
    config = tiny_config.replaced(
        {"stages.joint_epochs": 1, "stages.pretrain_images": None, "run.global_batch_size": 45}
    )
    assert calibrate(config, drawn_people, seconds=0.1)["joint"] > 0
