"""The main job end to end, as a user starts it: search, training on two workers, evaluation."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from command_runs import run, settings

from ray_advpose.config import load_config
from ray_advpose.training.checkpoint import read_manifest

pytestmark = pytest.mark.ray

SPACE = """
from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=4,
    fields={
        "asr.scale_bins": Choice((3, 5)),
        "aho.grid_width": Choice((2, 3)),
        "reward.alpha": Uniform(0.1, 0.5),
        "optim.pose_lr": LogUniform(1e-5, 3e-3),
    },
)
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory, people):
    """Run one search; what it printed and the folder it left."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "space.py").write_text(SPACE)
    code, output = run("tune.py", "--data", people, "--search", "space.py", "--out", "found", *settings(), cwd=folder)
    assert code == 0, output
    return output, folder / "found"


def test_a_search_ends_in_a_ranked_table(searched):
    output, found = searched
    lines = [line for line in (found / "ranked.md").read_text().splitlines() if line.startswith("|")]
    header, rows = lines[0], [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert "distance <= 0.2" in (found / "ranked.md").read_text()
    assert "best PCK@0.2" in header
    scores = [float(row[2]) for row in rows]
    assert len(rows) == 4
    assert scores == sorted(scores, reverse=True)
    # How many fall behind depends on who reports first; one always finishes.
    assert {"finished"} <= {row[8] for row in rows} <= {"finished", "stopped early"}
    finished = [row for row in rows if row[8] == "finished"]
    # 120 training images in batches of 12; 12 of them for the augmentation networks.
    assert all(row[5] == "20/1/20" for row in finished)
    assert all(row[6].endswith("%") and row[7].endswith("%") for row in finished)
    assert "Ranked trials" in output
    assert re.search(r"at most \d+:\d\d left", output), output


def test_a_search_leaves_the_best_configuration_and_checkpoint(searched, people):
    _, found = searched
    best = load_config(found / "best_config.yaml")
    assert load_config(found / "best_checkpoint" / "config.yaml") == best
    assert read_manifest(found / "best_checkpoint")["step"] > 0
    code, output = run(
        "evaluate.py", "--checkpoint", found / "best_checkpoint", "--data", people, "--out", "scored", cwd=found
    )
    assert code == 0, output
    assert "pooled14" in output
    predictions = np.load(found / "scored" / "predictions.npz")
    assert predictions["predictions_px"].shape == (16, 14, 2)
    picture = cv2.imread(str(found / "scored" / "predictions.png"))
    assert picture.std() > 20


def test_a_search_explains_itself(searched):
    _, found = searched
    assert json.loads((found / "versions.json").read_text())["ray"].startswith("2.")
    trials = [path for path in (found / "trials").iterdir() if path.is_dir()]
    assert len(trials) == 4
    for trial in trials:
        assert {"log.txt", "history.json", "config.yaml", "events", "checkpoints"} <= {p.name for p in trial.iterdir()}
    assert cv2.imread(str(found / "validation.png")).shape[1] > 1000


def test_another_search_is_not_started_in_its_folder(searched, people):
    _, found = searched
    code, output = run("tune.py", "--data", people, "--out", found, *settings(), cwd=found.parent)
    assert code == 2
    assert "holds a search that differs from this one" in output
    assert "space fields.asr.scale_bins" in output


def test_two_workers_train_one_network(tmp_path, people):
    code, output = run("train.py", "--data", people, "--out", "run", *settings(run__num_workers=2), cwd=tmp_path)
    assert code == 0, output
    assert "best score" in output
    assert output.count("training starts at step") == 1, "a worker died and was restarted"
    assert re.search(r"joint epoch 2 done: step 41", output)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [record["stage"] for record in history] == ["pose", "pose", "pretrain", "joint", "joint"]
    losses = [record["means"]["loss_random"] for record in history if "loss_random" in record["means"]]
    assert losses[-1] < losses[0]
    # The same command again finds the run done and trains nothing.
    code, again = run("train.py", "--data", people, "--out", "run", *settings(run__num_workers=2), cwd=tmp_path)
    assert code == 0, again
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == history
