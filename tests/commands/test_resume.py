"""A search whose machine died goes on where its trials were, on the real path."""

from __future__ import annotations

import json
import signal
import time

import pytest
from command_runs import run, settings, start

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_killed_search_goes_on_from_its_last_checkpoints(tmp_path, people):
    search = start("tune.py", "--data", people, "--trials", 2, "--out", "found", *LONG, cwd=tmp_path)
    trials = tmp_path / "found" / "trials"
    wait_for(lambda: len(list(trials.glob("*/checkpoints/step_*/manifest.json"))) >= 3)
    before = {path.parent.name: json.loads(path.read_text()) for path in trials.glob("*/history.json")}
    # Tune notes down every few seconds which reports it has seen.
    time.sleep(6)
    search.send_signal(signal.SIGKILL)
    search.wait()
    assert before
    time.sleep(5)

    code, output = run("tune.py", "--resume", "found", cwd=tmp_path)
    assert code == 0, output
    after = {path.parent.name: json.loads(path.read_text()) for path in trials.glob("*/history.json")}
    assert len(after) == 2
    for trial, history in after.items():
        assert [record["step"] for record in history] == sorted({record["step"] for record in history})
        kept = before.get(trial, [])[:-1]
        assert history[: len(kept)] == kept, "epochs before the cut were trained again"
    logs = [(trials / trial / "log.txt").read_text() for trial in before]
    assert all("training starts at step 0 from fresh weights" in log for log in logs)
    starts = [line for log in logs for line in log.splitlines() if "training starts at step" in line]
    assert any("checkpoints/step_" in line for line in starts)
    rows = (tmp_path / "found" / "ranked.md").read_text().splitlines()[2:4]
    assert all("finished" in row or "stopped early" in row for row in rows)


def test_ctrl_c_ends_a_search_with_the_command_that_resumes_it(tmp_path, people):
    search = start("tune.py", "--data", people, "--trials", 2, "--out", "found", *LONG, cwd=tmp_path)
    wait_for(lambda: list((tmp_path / "found" / "trials").glob("*/checkpoints/step_*/manifest.json")))
    search.send_signal(signal.SIGINT)
    output, _ = search.communicate(timeout=90)
    assert search.returncode == 130, output
    assert f"--resume {tmp_path / 'found'}" in output


def test_a_resume_on_other_data_is_refused(tmp_path, people):
    (tmp_path / "found").mkdir()
    fields = {
        "base": {},
        "data": str(people),
        "fingerprint": "another",
        "score_name": "PCK@0.2",
        "space": {"fields": {"reward.alpha": {"kind": "uniform", "low": 0.1, "high": 0.2}}, "trials": 1},
        "trials": 1,
        "overrides": [],
    }
    (tmp_path / "found" / "search.json").write_text(json.dumps(fields))
    code, output = run("tune.py", "--resume", "found", cwd=tmp_path)
    assert code == 2
    assert f"data {people}: another there" in output
    assert "--allow-change data" in output


LONG = settings(stages__pose_epochs=6, stages__joint_epochs=6)


def wait_for(condition, timeout_s=150):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
