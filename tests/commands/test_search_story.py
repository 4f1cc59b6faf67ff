"""One search through its life by the real command: planned, cut by its budget, gone on with, extended, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_runs import run, settings
from figure_five import rotation_losses
from read_page import seen_in

from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.sources.synthetic import generate_synthetic

pytestmark = pytest.mark.ray

SPACE = """
from ray_advpose.search.domains import Choice, Uniform
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace
SPACE = SearchSpace({"asr.scale_bins": Choice((5, 7)), "reward.alpha": Uniform(0.05, 0.5)}, 3, RunAll())
"""
# Some seconds a trial, and a checkpoint within most epochs.
SLOW = settings(
    net__channels=96, net__input_px=64, stages__pose_epochs=4, stages__joint_epochs=4, run__deterministic=True
)


def history(trial: Path) -> list[dict]:
    """What of a trial's history does not depend on the machine's mood."""
    path = trial / "history.json"
    records = json.loads(path.read_text()) if path.exists() else []
    return [{name: record[name] for name in ("stage", "epoch", "step", "metric", "means")} for record in records]


def histories(found: Path) -> dict[str, list[dict]]:
    return {trial.name: history(trial) for trial in sorted(found.glob("trials/*"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("story")
    (made / "space.py").write_text(SPACE)
    return made


@pytest.fixture(scope="module")
def command(people):
    return ["tune.py", "--data", people, "--search", "space.py", *SLOW]


@pytest.fixture(scope="module")
def undisturbed(folder, command):
    code, output = run(*command, "--out", "undisturbed", cwd=folder)
    assert code == 0, output
    return histories(folder / "undisturbed")


@pytest.fixture(scope="module")
def planned(folder, command, undisturbed):
    """The plan, made where the records of the undisturbed search are."""
    code, output = run(*command, "--out", "cut", "--plan", "--json", "--price", 2, cwd=folder)
    assert code == 0, output
    assert not (folder / "cut").exists()
    return json.loads(output)


@pytest.fixture(scope="module")
def cut(folder, command, planned, undisturbed):
    """The same search, ended by its budget, and again at once: what it has cost counts over all its starts."""
    hours = 0.7 * json.loads((folder / "undisturbed" / "spent.json").read_text())["hours"]
    budget = ["--out", "cut", "--max-hours", str(hours), "--price", "2", "--max-cost", "99"]
    code, output = run(*command, *budget, cwd=folder)
    assert code == 0, output
    again, told = run(*command, *budget, cwd=folder)
    assert again == 0, told
    return output, told, histories(folder / "cut")


@pytest.fixture(scope="module")
def gone_on(folder, command, cut):
    code, output = run(*command, "--out", "cut", cwd=folder)
    assert code == 0, output
    return output


def test_the_plan_counts_what_the_search_then_used(planned, undisturbed):
    assert planned["trials"] == len(undisturbed) == 3
    steps = {trial: records[-1]["step"] for trial, records in undisturbed.items()}
    assert set(steps.values()) == {sum(planned["images"].values()) // 12}
    assert set(planned["images_per_s"]) == {"pose", "pretrain", "joint"}
    assert "undisturbed" in planned["speed_source"]
    assert planned["likely"] == planned["at_most"], "nobody is stopped"
    assert planned["likely"]["cost"] == pytest.approx(2 * planned["likely"]["device_hours"])


def test_what_was_measured_for_figure_5_is_what_the_checkpoint_gives(folder, people, undisturbed):
    trial = folder / "undisturbed" / "trials" / "trial_00000"
    record = json.loads((trial / "history.json").read_text())[-1]
    probe = record["probe"]
    checkpoint = trial / "checkpoints" / f"step_{record['step']:09d}"
    expected = rotation_losses(checkpoint, ShardSet.open(people), probe["images"], probe["rotations_deg"])
    assert probe["loss_rotation"] == pytest.approx(expected, rel=1e-4)
    assert np.ptp(expected) > 0.01 * np.mean(expected), "the bins cannot be told apart"


def test_a_report_shows_the_search(folder, undisturbed, browser):
    code, output = run("report.py", "undisturbed", "--price", 1, cwd=folder)
    assert code == 0, output
    assert "All 3 trials have ended." in output
    seen = seen_in(browser, folder / "undisturbed" / "report.html")
    assert seen.title == seen.headings[0] == "Search undisturbed"
    assert {
        "Ranked trials",
        "Scores beside the paper's",
        "What is hard, and what the augmentation networks make of it",
        "Persons that changed most",
        "What the networks saw",
        "Settings to copy",
        "Cost",
    } <= set(seen.headings)
    best = max(record["metric"] for trial in undisturbed.values() for record in trial)
    assert f"{best:.2f}" in seen.cells
    assert {"trial_00000", "trial_00001", "trial_00002", "paper, ASR and AHO", "87.8"} <= set(seen.cells)
    written = (folder / "undisturbed" / "report.md").read_text()
    for name in re.findall(r"\]\((report_files/[^)]+)\)", written):
        assert (folder / "undisturbed" / name).stat().st_size > 1000


def test_a_plan_in_words_names_what_is_structural(folder, command, undisturbed):
    code, output = run(*command, "--out", "other", "--plan", cwd=folder)
    assert code == 0, output
    words = " ".join(output.split())
    for part in (
        "3: each trained to its end",
        "5 or 7 (structural)",
        "0.05 to 0.5",
        "images/s of a trial",
        "time, at most",
    ):
        assert part in words
    assert not (folder / "other").exists(), "a plan starts nothing"


def test_a_plan_that_would_starve_names_the_change_that_fits(folder, command):
    starving = [*command, "--set", "run.num_workers=12", "--plan"]
    starving += settings(run__global_batch_size=36, stages__pretrain_images=36)
    code, output = run(*starving, cwd=folder)
    assert code == 2
    fits = re.search(r"(run\.num_workers) = (\d+) would fit", output)
    assert fits, output
    code, output = run(*starving, "--set", f"{fits[1]}={fits[2]}", cwd=folder)
    assert code == 0, output


@pytest.mark.slow
def test_a_budget_ends_a_search_in_order(folder, cut, undisturbed):
    output, told, found = cut
    assert re.search("--max-hours .* is reached: every running trial takes a checkpoint", output)
    assert re.search("--max-hours .* is reached by what was trained before", told)
    assert "Ranked trials" not in told
    assert f"--resume {folder / 'cut'}" in output
    assert "left of the budget" in output
    assert found != undisturbed, "it was not cut"
    spent = json.loads((folder / "cut" / "spent.json").read_text())
    assert 0 < spent["device_hours"] <= 2 * spent["hours"]


@pytest.mark.slow
def test_the_same_command_goes_on_and_ends_as_if_nothing_had_happened(folder, gone_on, undisturbed):
    assert re.search(r"\d of 3 trials are kept; \d go on \(trial_0000\d from step \d+", gone_on), gone_on
    assert histories(folder / "cut") == undisturbed


@pytest.mark.slow
def test_it_can_be_extended_once_it_has_ended(folder, command, gone_on, undisturbed):
    code, output = run("tune.py", "--resume", "cut", "--extend", 1, cwd=folder)
    assert code == 0, output
    assert "3 of 4 trials are kept; 1 begin" in output
    after = histories(folder / "cut")
    assert {trial: after[trial] for trial in undisturbed} == undisturbed, "what was there is kept"
    assert len(after) == 4
    rows = (folder / "cut" / "ranked.md").read_text().splitlines()
    assert len([row for row in rows if "finished" in row]) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "reward.beta=0.9"], ["reward.beta: 0.5 there, 0.9 here", "--allow-change reward.beta"]),
        (["--trials", "2"], ["trials: ", "--extend N", "2 here"]),
        (["--set", "net.channels=16"], ["net.channels: 96 there, 16 here", "name another --out"]),
    ],
)
def test_another_search_in_its_folder_is_refused_with_what_differs(folder, command, undisturbed, arguments, words):
    before = histories(folder / "undisturbed")
    code, output = run(*command, *arguments, "--out", "undisturbed", cwd=folder)
    assert code == 2
    assert all(word in output for word in words), output
    assert histories(folder / "undisturbed") == before


def test_changed_code_is_refused_until_it_is_allowed(folder, undisturbed):
    path = folder / "undisturbed" / "search.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"software": stored["software"] | {"torch": "1.0"}}))
    code, output = run("tune.py", "--resume", "undisturbed", "--plan", cwd=folder)
    assert code == 2
    assert "torch: 1.0 there" in output
    code, output = run("tune.py", "--resume", "undisturbed", "--plan", "--allow-change", "code", cwd=folder)
    assert code == 0, output
    path.write_text(json.dumps(stored))


@pytest.mark.slow
def test_as_many_trials_as_were_asked_for_are_started(folder, command):
    code, output = run(*command, "--out", "few", "--max-trials", 1, cwd=folder)
    assert code == 0, output
    assert "--max-trials 1 is reached" in output
    assert list(histories(folder / "few")) == ["trial_00000"]
    code, output = run(*command, "--out", "few", "--price", 1, "--max-cost", 1e-6, cwd=folder)
    assert code == 0, output
    assert "--max-cost 1e-06 is reached by what was trained before" in output


@pytest.mark.slow
def test_a_search_goes_on_with_other_data_if_that_is_allowed(folder, command):
    code, output = run(*command, "--out", "grown", "--max-trials", 1, cwd=folder)
    assert code == 0, output
    before = histories(folder / "grown")
    write_shards(generate_synthetic(persons=160, seed=1), folder / "more", box_px=48)
    more = ("tune.py", "--resume", "grown", "--data", "more")
    code, output = run(*more, cwd=folder)
    assert code == 2
    assert "--allow-change data" in output
    assert histories(folder / "grown") == before
    code, output = run(*more, "--allow-change", "data", cwd=folder)
    assert code == 0, output
    after = histories(folder / "grown")
    assert len(after) == 3
    # What had ended stays as it was.
    assert after["trial_00000"] == before["trial_00000"]
    assert json.loads((folder / "grown" / "search.json").read_text())["allowed"] == ["data"]


@pytest.mark.slow
def test_a_calibration_measures_every_stage(folder, command):
    code, output = run(*command, "--out", "none", "--plan", "--calibrate", "--json", cwd=folder)
    assert code == 0, output
    plan = json.loads(output[output.index("{") :])
    assert set(plan["images_per_s"]) == {"pose", "pretrain", "joint"}
    assert all(rate > 1 for rate in plan["images_per_s"].values())
    assert "2 worker(s) at a time" in plan["speed_source"]
    assert not (folder / "none").exists()
