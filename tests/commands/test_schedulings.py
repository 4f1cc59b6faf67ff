"""Every kind of scheduling and draw through the real command; copying has tests of its own."""

from __future__ import annotations

import json

import pytest
from command_runs import run, settings

from ray_advpose.search.lineage import LINEAGE, Lineage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPACE = """
from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping, RunAll
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(FIELDS, scheduling=SCHEDULING, draw=DRAW)
"""
NUMBERS = '{"reward.alpha": Uniform(0.05, 0.5), "optim.joint_lr": LogUniform(1e-4, 1e-2)}, 4'
CHOICES = '{"reward.alpha": Choice((0.1, 0.3)), "aho.max_cells": Choice((1, 2))}'


def write_space(folder, fields, scheduling, draw):
    text = SPACE.replace("FIELDS", fields).replace("SCHEDULING", scheduling).replace("DRAW", draw)
    (folder / "space.py").write_text(text)


@pytest.mark.parametrize(
    ("fields", "scheduling", "draw"),
    [
        (NUMBERS, "MedianStopping(least_others=1)", "'random'"),
        (NUMBERS, "Halving()", "'optuna'"),
        (CHOICES, "RunAll()", "'grid'"),
    ],
)
def test_a_search_of_its_kind(tmp_path, people, fields, scheduling, draw):
    write_space(tmp_path, fields, scheduling, draw)
    fast = settings(stages__pose_epochs=1, stages__joint_epochs=3)
    code, output = run("tune.py", "--data", people, "--search", "space.py", "--out", "found", *fast, cwd=tmp_path)
    assert code == 0, output
    table = (tmp_path / "found" / "ranked.md").read_text().splitlines()
    rows = [line for line in table if line.startswith("|")][2:]
    assert len(rows) == 4
    endings = [row.split("|")[-3].strip() for row in rows]
    assert set(endings) <= {"finished", "stopped early"}
    assert "finished" in endings
    assert len({row.split("|")[-2] for row in rows}) == 4, "two trials tried the same"
    if scheduling == "RunAll()":
        assert endings == ["finished"] * 4
    else:
        decisions = (tmp_path / "found" / "decisions.jsonl").read_text().splitlines()
        stopped = {json.loads(line)["trial"] for line in decisions if json.loads(line)["answer"] == "STOP"}
        assert len(stopped) == endings.count("stopped early")


def test_what_optuna_finds_goes_on_elsewhere(tmp_path, people):
    write_space(tmp_path, NUMBERS, "RunAll()", "'optuna'")
    fast = settings(stages__pose_epochs=1, stages__joint_epochs=1)
    command = ("tune.py", "--data", people, "--search", "space.py", "--out", "found", *fast)
    code, output = run(*command, "--max-trials", "2", cwd=tmp_path)
    assert code == 0, output
    (tmp_path / "found").rename(tmp_path / "moved")
    code, output = run("tune.py", "--resume", "moved", "--plan", cwd=tmp_path)
    assert code == 0, output
    code, output = run("tune.py", "--resume", "moved", cwd=tmp_path)
    assert code == 0, output
    assert not (tmp_path / "found").exists()
    names = [f"trial_{number:05d}" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "moved" / "trials").iterdir()) == names
    table = (tmp_path / "moved" / "ranked.md").read_text()
    assert table.count("| finished |") == 4
    code, output = run("report.py", "moved", cwd=tmp_path)
    assert code == 0, output


def test_a_structural_copy_has_its_heads_mapped(tmp_path, people):
    fields = (
        '{"asr.scale_bins": Choice((3, 5, 7)), "aho.grid_width": Choice((2, 4)), "reward.alpha": Uniform(0.1, 0.5)}'
    )
    copying = "Exploiting(('asr.scale_bins', 'aho.grid_width', 'reward.alpha'), fraction=0.5)"
    write_space(tmp_path, f"{fields}, 4", copying, "'latin'")
    fast = settings(stages__pose_epochs=1, stages__joint_epochs=3)
    code, output = run("tune.py", "--data", people, "--search", "space.py", "--out", "found", *fast, cwd=tmp_path)
    assert code == 0, output
    lines = [
        json.loads(line)
        for path in (tmp_path / "found").glob("trials/*/stretches.jsonl")
        for line in path.read_text().splitlines()
    ]
    mapped = {field for line in lines for field in line["mapped"]}
    assert mapped == {"asr.scale_bins", "aho.grid_width"}


def test_a_population_explores_by_what_gained_most(tmp_path, people):
    fields = '{"reward.alpha": Uniform(0.05, 0.5), "optim.pose_lr": LogUniform(2e-4, 5e-3)}, 4'
    copying = "Exploiting(('reward.alpha', 'optim.pose_lr'), fraction=0.5, explore='bandit')"
    write_space(tmp_path, fields, copying, "'latin'")
    fast = settings(stages__pose_epochs=1, stages__joint_epochs=4)
    code, output = run("tune.py", "--data", people, "--search", "space.py", "--out", "found", *fast, cwd=tmp_path)
    assert code == 0, output
    exploits = Lineage(tmp_path / "found" / LINEAGE).exploits
    factors = [
        after / before for exploit in exploits if exploit.barrier > 1 for before, after in exploit.changes.values()
    ]
    assert factors, "nobody copied after the first barrier"
    # A perturbation is a fifth up or down; what the model chose lies anywhere.
    assert any(min(abs(factor - 0.8), abs(factor - 1.2)) > 0.01 for factor in factors)
