from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from event_file import values_in

from ray_advpose.cluster.records import progress_line, run_records
from ray_advpose.cluster.run_files import read_history
from ray_advpose.cluster.stretches import Stretch
from ray_advpose.pose.skeleton import LSP
from ray_advpose.presets import QUICK
from ray_advpose.report.clock import clock
from ray_advpose.training.glimpse import Glimpse
from ray_advpose.training.history import EpochRecord, Probe
from ray_advpose.training.inputs import PoseInput
from ray_advpose.training.loop import Progress

RECORD = EpochRecord("joint", 1, 50, 600, 10.0, 0.25, 33.3, {"loss_random": 0.5, "rewarded_asr": 0.6}, {"pose": 1e-3})


def test_records_of_two_starts_are_one_log_and_the_whole_history(tmp_path):
    folder = tmp_path / "run"
    with run_records(folder, QUICK, 0, []) as records:
        records.epoch(RECORD, [RECORD])
    with run_records(folder, QUICK, 50, [RECORD]) as records:
        records.epoch(RECORD, [RECORD, RECORD])
    assert read_history(folder) == [RECORD, RECORD]
    log = (folder / "log.txt").read_text()
    assert log.count("joint epoch 1 done: step 50, score 33.30, 60 images/s, 25 % of the time waiting for data") == 2
    assert (folder / "config.yaml").read_text() == QUICK.to_yaml()
    assert list((folder / "events").glob("events.out.tfevents.*"))


def test_events_tell_what_the_networks_learn(tmp_path):
    probe = Probe(
        4, [-0.3, 0.0, 0.3], [-60.0, 0.0, 60.0], [2, 2], [1, 2, 3], [3, 1, 3], [1, 1, 1, 2], [], [0.4, 0.2, 0.4], []
    )
    record = replace(RECORD, joints={"left_wrist": 21.5}, probe=probe)
    joints = torch.full((2, 14, 2), 20.0)
    counted = torch.ones(2, 14, dtype=torch.bool)
    seen = PoseInput(torch.rand(2, 3, 64, 64), joints, counted, torch.zeros(2, 14, 16, 16), torch.ones(2))
    with run_records(tmp_path, QUICK, 0, []) as records:
        records.stretch(Stretch(0, None, 0, 10.0, 11.0, 12.5))
        records.stretch(Stretch(1, "/a", 30, 20.0, 20.2, 20.5))
        records.checkpoint(50, 0.25)
        records.epoch(record, [record])
        records.inputs(Glimpse(seen, seen, torch.ones(2, 1, 64, 64)), LSP, 50)
    found = {(tag, step): value for tag, step, value in values_in(tmp_path / "events")}
    scalars = {key: value.simple_value for key, value in found.items() if not value.HasField("image")}
    expected = {
        ("validation/score", 50): 33.3,
        ("validation_joints/left_wrist", 50): 21.5,
        ("train/rewarded_asr", 50): 0.6,
        ("speed/images_per_s", 50): 60.0,
        ("speed/waiting_share", 50): 0.25,
        ("learning_rate/pose", 50): 1e-3,
        ("time/start_s", 0): 2.5,
        ("time/exploit_s", 30): 0.5,
        ("time/checkpoint_s", 50): 0.25,
    }
    assert {key: scalars[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    for tag, width in (("probe", 462), ("inputs", 2 * 160 + 2)):
        image = cv2.imdecode(np.frombuffer(found[tag, 50].image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1] == width
        assert image.std() > 10
    assert cv2.imread(str(tmp_path / "inputs.jpg")).shape == (3 * 160 + 4, 2 * 160 + 2, 3)
    assert read_history(tmp_path) == [record]


def test_history_of_epochs_that_are_trained_again_is_taken_back(tmp_path):
    with run_records(tmp_path, QUICK, 0, []) as records:
        records.epoch(RECORD, [RECORD, RECORD])
    with run_records(tmp_path, QUICK, 50, [RECORD]):
        assert read_history(tmp_path) == [RECORD]


def test_a_run_without_an_epoch_has_no_history(tmp_path):
    assert read_history(tmp_path) == []


def test_progress_says_where_a_run_is():
    progress = Progress("pose", 1, 4, 50, 400, 12 * 350, 100.0, {"loss_random": 0.5, "entropy": 1.0})
    assert progress_line(progress) == (
        "pose 1/4 | step 50/400 | 100 images/s | about 0:42 left at this speed | loss_random 0.5000"
    )


def test_clock():
    assert [clock(seconds) for seconds in (0, 59.4, 61, 3600, 7325)] == ["0:00", "0:59", "1:01", "1:00:00", "2:02:05"]
