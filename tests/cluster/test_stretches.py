from __future__ import annotations

import time

from ray_advpose.cluster.stretches import Stretch, StretchRecorder, read_stretches
from ray_advpose.cluster.timeline import mark, read_timeline


def test_a_stretch_is_noted_at_its_first_step_and_once(tmp_path):
    before = time.time()
    begun = Stretch(1, "/a/step_000000010", 10, before, before, 0.0, ["asr.scale_bins"], {"pose": "0a"})
    told: list[Stretch] = []
    recorder = StretchRecorder(tmp_path, begun, told.append)
    assert read_stretches(tmp_path) == []
    recorder.stepped()
    recorder.stepped()
    (stretch,) = read_stretches(tmp_path)
    assert told == [stretch]
    assert before <= stretch.trained_at <= time.time()
    assert (stretch.generation, stretch.step, stretch.digests) == (1, 10, {"pose": "0a"})
    # A line that is still being written is none yet.
    with (tmp_path / "stretches.jsonl").open("a") as file:
        file.write('{"generation": 2')
    assert len(read_stretches(tmp_path)) == 1


def test_marks_are_read_in_order_of_time(tmp_path):
    assert read_timeline(tmp_path) == []
    for what in ("first", "second"):
        mark(tmp_path / "run", what)
    assert [each.what for each in read_timeline(tmp_path / "run")] == ["first", "second"]
