"""The ablation as one command: every arm and seed, one stage 1 for the arms of a seed, Table 1's shape."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
from command_runs import run, settings, start

from ray_advpose.pose.metrics import score_lspet
from ray_advpose.training.checkpoint import read_config

pytestmark = pytest.mark.ray

# Two at a time on any machine: with more, all arms would start before the first has a stage 1 to share.
THREADS = max(1, (os.cpu_count() or 1) // 2)
ARGUMENTS = (
    *("--arms", "random,asr,aho", "--seeds", 2, "--out", "arms"),
    *settings(run__torch_threads_per_worker=THREADS),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, people):
    """Train three arms with two seeds; what was printed and the folder."""
    folder = tmp_path_factory.mktemp("arms")
    code, output = run("train.py", "--data", people, *ARGUMENTS, cwd=folder)
    assert code == 0, output
    return output, folder / "arms"


def trials_of(folder):
    """Config and folder of every trial, by arm and seed."""
    found = {}
    for trial in (path for path in (folder / "trials").iterdir() if path.is_dir()):
        config = read_config(sorted((trial / "checkpoints").glob("step_*"))[-1])
        arm = "+".join(name for name in ("asr", "aho") if getattr(config, name).enabled) or "random"
        found[arm, config.run.seed] = trial
    return found


def test_every_arm_has_a_row_beside_the_papers(trained):
    output, folder = trained
    text = (folder / "arms.md").read_text()
    assert text in output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["random", "", "asr", "", "aho", ""]
    assert {row[1] for row in rows[2::2]} == {"here, 2 seeds"}
    assert rows[3][9] == "87.0"
    assert "split val, the last checkpoint" in text
    assert "distance <= 0.2" in text


def test_the_table_is_what_the_saved_predictions_score(trained):
    _, folder = trained
    table = json.loads((folder / "arms.json").read_text())
    trials = trials_of(folder)
    assert set(trials) == {(arm, seed) for arm in ("random", "asr", "aho") for seed in (0, 1)}
    for (arm, seed), trial in trials.items():
        saved = np.load(trial / "predictions.npz")
        score = score_lspet(saved["predictions_px"], saved["truth_px"], saved["annotated"])
        assert table[arm]["seeds"][str(seed)]["mean_joint"] == pytest.approx(score.mean_joint)


def test_every_arm_gives_the_pose_net_as_many_images(trained):
    _, folder = trained
    for trial in trials_of(folder).values():
        history = json.loads((trial / "history.json").read_text())
        assert sum(record["images"] for record in history if record["stage"] != "pretrain") == 2 * 120 + 2 * 120


def test_arms_of_a_seed_share_its_stage_1(trained):
    _, folder = trained
    trials = trials_of(folder)
    for seed in (0, 1):
        first = json.loads((trials["random", seed] / "history.json").read_text())
        second = json.loads((trials["aho", seed] / "history.json").read_text())
        # Not only equal scores but equal seconds: these epochs were trained once.
        assert first[:2] == second[:2]
        assert "training starts at step 20 from" in (trials["aho", seed] / "log.txt").read_text()
    assert len([path for path in (folder / "pose_stages").iterdir() if path.is_dir()]) == 2


def test_the_same_command_again_trains_nothing(trained, people):
    _, folder = trained
    before = {path: path.read_text() for path in [*folder.glob("trials/*/log.txt"), *folder.glob("arms.*")]}
    code, output = run("train.py", "--data", people, *ARGUMENTS, cwd=folder.parent)
    assert code == 0, output
    assert len(before) == 6 + 2
    assert {path: path.read_text() for path in before} == before


def test_other_arms_in_the_same_folder_are_refused(trained, people):
    _, folder = trained
    code, output = run("train.py", "--data", people, *ARGUMENTS, "--set", "reward.alpha=0.3", cwd=folder.parent)
    assert code == 2
    assert "holds runs with reward.alpha = 0.2, not 0.3; name another --out" in output
    code, output = run("train.py", "--data", people, *ARGUMENTS, "--seeds", 1, cwd=folder.parent)
    assert code == 2
    assert "holds random seed 0, random seed 1, asr seed 0" in output
    assert "not random seed 0, asr seed 0, aho seed 0; name another --out" in output
    code, output = run("train.py", "--data", people, "--out", folder, *settings(), cwd=folder.parent)
    assert code == 2
    assert "holds a population, not a single run" in output


@pytest.mark.slow
def test_killed_and_started_again_is_the_undisturbed_ablation(trained, people, tmp_path):
    _, whole = trained
    killed = start("train.py", "--data", people, *ARGUMENTS, cwd=tmp_path)
    trials, deadline = tmp_path / "arms" / "trials", time.monotonic() + 240
    # In the middle: some runs are done, others were begun or not, by way of a shared stage 1 or not.
    while len(list(trials.glob("*/checkpoints/step_000000041"))) < 1:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(5)
    code, output = run("train.py", "--data", people, *ARGUMENTS, cwd=tmp_path)
    assert code == 0, output
    assert (tmp_path / "arms" / "arms.json").read_text() == (whole / "arms.json").read_text()
