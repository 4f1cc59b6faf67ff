from __future__ import annotations

from ray_advpose.cluster.records import progress_line, run_records
from ray_advpose.cluster.run_files import read_history
from ray_advpose.presets import QUICK
from ray_advpose.report.clock import clock
from ray_advpose.training.history import EpochRecord
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
