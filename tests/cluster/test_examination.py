from __future__ import annotations

import pytest
import torch

from ray_advpose.cluster.examination import Examination
from ray_advpose.cluster.records import run_records
from ray_advpose.cluster.run_files import BEFORE_JOINT, INPUTS, LATEST
from ray_advpose.data.rescoring import score_file
from ray_advpose.data.task import task_for
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.state import make_state


def record(stage, epoch):
    return EpochRecord(stage, epoch, 4, 48, 1.0, 0.0, 10.0, {}, {})


@pytest.fixture
def examined(tmp_path, tiny_config, drawn_people):
    """An examination of fresh networks in an empty folder, and its log."""
    state = make_state(tiny_config, 14, torch.device("cpu"))
    with run_records(tmp_path / "run", tiny_config, 0, []) as records:
        task = task_for(tiny_config, drawn_people)
        yield Examination(state, task, drawn_people, tmp_path / "run", records), tmp_path / "run"


def test_predictions_are_left_when_stage_1_ends_and_in_stage_3(examined, tmp_path):
    examination, folder = examined
    share = tmp_path / "shared" / "key"
    validation = examination.validate()
    examination.epoch_ended(record("pose", 1), share)
    assert not (folder / BEFORE_JOINT).exists()
    examination.epoch_ended(record("pose", 2), share)
    assert score_file(folder / BEFORE_JOINT).score.pooled == pytest.approx(validation.metric)
    assert not (folder / LATEST).exists()
    examination.epoch_ended(record("joint", 1), share)
    assert (folder / LATEST).is_file()
    assert (folder / INPUTS).is_file()
    examination.become_a_copy()
    assert not (folder / LATEST).exists()
    # Whoever goes on from the shared stage 1 has its predictions too.
    (folder / BEFORE_JOINT).unlink()
    examination.take_over(share)
    assert score_file(folder / BEFORE_JOINT).score.pooled == pytest.approx(validation.metric)


def test_what_cannot_be_written_does_not_end_training(examined):
    examination, folder = examined
    (folder / LATEST).mkdir()
    examination.validate()
    examination.epoch_ended(record("joint", 1), None)
    log = (folder / "log.txt").read_text()
    assert "cannot be written" in log
    assert "training goes on" in log


def test_other_ranks_look_at_nothing(tmp_path, tiny_config, drawn_people):
    state = make_state(tiny_config, 14, torch.device("cpu"))
    examination = Examination(state, task_for(tiny_config, drawn_people), drawn_people, tmp_path, records=None)
    assert examination.validate().joints
    assert examination.probe() is None
    examination.epoch_ended(record("joint", 1), None)
    assert list(tmp_path.iterdir()) == []
