"""A drill's verdict says no where it should; that it says yes is shown by drills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from any_data import DATA

from ray_advpose.cluster.storage import store_at
from ray_advpose.drill.comparison import compare_runs
from ray_advpose.drill.disturbed import FaultOutcome
from ray_advpose.drill.faults import Fault, Kind, draw_faults
from ray_advpose.training.schedule import Schedule, Span, Stage

# Two epochs of six images in batches of four.
SCHEDULE = Schedule(0, 4, (Span(Stage.POSE, 0, 3, 2, 6),), None)
LOG = [(0, [0, 1, 2, 3]), (1, [4, 5, 5, 4]), (2, [3, 2, 1, 0])]


@pytest.fixture
def runs(tmp_path, snapshot):
    """Two equal runs, and a function that compares them after changes."""
    for name in ("whole", "disturbed"):
        store_at(str(tmp_path / name / "checkpoints")).commit(snapshot(3), DATA)
        write_log(tmp_path / name, LOG)

    def compare():
        places = tuple(str(tmp_path / name / "checkpoints") for name in ("whole", "disturbed"))
        checks = compare_runs(tmp_path / "whole", tmp_path / "disturbed", places, SCHEDULE)
        return [check.question for check in checks if not check.passed]

    return tmp_path / "disturbed", compare


def write_log(folder: Path, log):
    (folder / "samples").mkdir(exist_ok=True)
    lines = [{"step": step, "slot": [0, 1, 2, 3], "sample": samples, "crc32": samples} for step, samples in log]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "samples" / "rank-0.jsonl").write_text(text)


def test_equal_runs_are_equal(runs):
    _, compare = runs
    assert compare() == []


def test_one_weight_of_thousands_is_seen(runs, state, snapshot):
    folder, compare = runs
    weight = state.pose_net.state_dict()["stem.0.weight"]
    before = weight.clone()
    weight[0, 0, 0, 0] += 1e-7
    store_at(str(folder / "checkpoints")).commit(snapshot(3), DATA)
    weight.copy_(before)
    assert compare() == ["networks: equal bit for bit"]


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        (LOG[:2], {"samples and canvases of every step: equal", "every sample exactly once an epoch"}),
        ([*LOG, (3, [0, 1, 2, 3])], {"samples and canvases of every step: equal"}),
        (
            [LOG[0], (1, [4, 4, 5, 4]), LOG[2]],
            {"samples and canvases of every step: equal", "every sample exactly once an epoch"},
        ),
        ([*LOG, (1, [5, 4, 5, 4])], {"samples and canvases of every step: equal"}),
    ],
)
def test_a_step_that_is_missing_too_many_or_different_is_seen(runs, log, failed):
    folder, compare = runs
    write_log(folder, log)
    assert set(compare()) == failed


def test_what_may_be_lost_depends_on_the_fault():
    def lost_nothing(kind, resumed_step):
        return FaultOutcome(Fault(kind, 5), True, 9, 6, resumed_step, 1.0).lost_nothing_else

    assert lost_nothing(Kind.WORKER, 6)
    assert not lost_nothing(Kind.WORKER, 5)
    assert lost_nothing(Kind.STOP, 10)
    assert not lost_nothing(Kind.STOP, 9)
    assert not lost_nothing(Kind.READER, 6)


def test_faults_are_drawn_evenly_at_different_steps_and_again_alike():
    faults = draw_faults(30, list(Kind), total_steps=100, seed=3)
    steps = [fault.step for fault in faults]
    assert steps == sorted(set(steps))
    assert all(0 < step < 100 for step in steps)
    counts = [sum(fault.kind is kind for fault in faults) for kind in Kind]
    assert max(counts) - min(counts) <= 1
    assert faults == draw_faults(30, list(Kind), total_steps=100, seed=3)
    assert faults != draw_faults(30, list(Kind), total_steps=100, seed=4)
