"""What is read from folders that are empty, at work, cut, or partly broken; a real search is read in tests/commands."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from ray_advpose.cluster.run_card import RunCard, alone_in
from ray_advpose.cluster.run_files import BEFORE_JOINT, LATEST, write_history
from ray_advpose.data.prediction_files import write_predictions
from ray_advpose.data.shards import read_persons
from ray_advpose.errors import UserError
from ray_advpose.report.page import html, markdown
from ray_advpose.report.sections import report_page
from ray_advpose.search.accounting import account_of
from ray_advpose.search.arms import arms_search
from ray_advpose.search.domains import Uniform
from ray_advpose.search.endings import write_ending
from ray_advpose.search.exploit import Exploit
from ray_advpose.search.lineage import Lineage
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.session import new_search
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stored import write_search
from ray_advpose.training.history import EpochRecord, Probe

PROBE = Probe(
    4, [-0.1, 0.1], [-9.0, 0.0, 9.0], [1, 2], [2, 1], [3, 1, 2], [1, 1], [0.6, 0.4], [0.5, 0.2, 0.3], [0.5, 0.5]
)
TRIALS = 3


@pytest.fixture
def folder(tmp_path, tiny_config, drawn_people):
    """A search of three trials that has not begun."""
    space = SearchSpace({"reward.alpha": Uniform(0.1, 0.5)}, TRIALS, RunAll())
    search = new_search(tiny_config, drawn_people.place, space, TRIALS, space.drawn(TRIALS, 0))
    write_search(search, tmp_path)
    return tmp_path


def trial(folder, number, *stages, score=30.0, probe=PROBE):
    """Have a trial train epochs of these stages."""
    path = folder / "trials" / f"trial_{number:05d}"
    path.mkdir(parents=True, exist_ok=True)
    records = [
        EpochRecord(stage, k, 4 * k, 90, 9.0, 0.1, score + k, {}, {}, probe=None if stage == "pose" else probe)
        for k, stage in enumerate(stages, start=1)
    ]
    write_history(path, records)
    return path


def predictions(path, shards, off_px):
    """Predictions of the validation split that are off by so many pixels."""
    persons = read_persons(shards, "val", np.arange(shards.count("val")))
    matrix = persons.image_from_canvas
    truth = np.einsum("nij,nkj->nki", matrix[:, :, :2], persons.joints_cv.astype(float)) + matrix[:, None, :, 2]
    write_predictions(
        path,
        truth + np.array([off_px, 0]),
        persons.person_id,
        truth,
        persons.annotated,
        persons.normalizer_px,
        protocol=shards.manifest.protocol,
        decoder="exact",
        flip_test=False,
    )


def page_of(folder):
    """The report; both forms can be written."""
    page = report_page(account_of(folder, price=2.0))
    assert html(page)
    assert markdown(page, "x")
    return page


def titles(page):
    return [section.title for section in page.sections]


def test_a_search_that_has_not_begun_says_so(folder):
    page = page_of(folder)
    assert page.summary == [
        "It is not running, and 0 of 3 trials have ended. No epoch has ended yet, so there is nothing to show but what"
        " it was started with."
    ]
    assert "Ranked trials" not in titles(page)
    assert any(name == "data" and "45 train, 6 val" in value for name, value in page.facts)


def test_a_search_at_work_says_so(folder):
    trial(folder, 0, "pose")
    write_ending(folder / "endings.jsonl", "trial_00000", "finished")
    trial(folder, 1, "pose", "pretrain", "joint")
    with alone_in(folder):
        page = page_of(folder)
        assert page.summary[0] == "It is running: 1 of 3 trials have ended."
    assert page_of(folder).summary[0] == "It is not running, and 1 of 3 trials have ended."
    table = page.sections[0].blocks[0]
    assert [row[table.header.index("ending")] for row in table.rows] == ["running", "finished"]


def test_what_failed_and_what_cannot_be_read_is_named(folder):
    trial(folder, 0, "pose")
    write_ending(folder / "endings.jsonl", "trial_00000", "failed")
    broken = trial(folder, 1, "pose", "joint")
    (broken / "history.json").write_text("[{")
    predictions_of_best = trial(folder, 2, "pose", "pretrain", "joint", "joint")
    (predictions_of_best / LATEST).write_bytes(b"no predictions")
    page = page_of(folder)
    assert any(sentence.startswith("trial_00000 failed; see ") for sentence in page.summary)
    assert any("trial_00001/history.json cannot be read" in sentence for sentence in page.summary)
    assert any("Predictions cannot be read" in sentence for sentence in page.summary)
    assert "What is hard, and what the augmentation networks make of it" in titles(page)


def test_data_that_is_gone_is_named(folder):
    path = folder / "search.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": str(folder / "gone")}))
    trial(folder, 0, "pose", "pretrain", "joint")
    page = page_of(folder)
    assert any("The data cannot be read" in sentence for sentence in page.summary)


def test_the_best_trial_is_compared_with_itself_before_stage_3(folder, drawn_people):
    for number, after in ((0, 9.0), (1, 1.0)):
        path = trial(folder, number, "pose", "pretrain", "joint", score=20 + number)
        predictions(path / BEFORE_JOINT, drawn_people, 20.0)
        predictions(path / LATEST, drawn_people, after)
    account = account_of(folder)
    assert "trial_00001" in account.compared_is
    before, after = (account.compared[name][0].score for name in ("before stage 3", "after stage 3"))
    assert before.mean_joint < after.mean_joint
    page = page_of(folder)
    assert {"Scores beside the paper's", "Persons that changed most"} <= set(titles(page))
    scores = page.sections[titles(page).index("Scores beside the paper's")].blocks[0]
    assert [row[0] for row in scores.rows] == ["before stage 3", "after stage 3", "paper, random", "paper, ASR and AHO"]
    assert [row[-2] for row in scores.rows[2:]] == ["87.0", "87.8"]
    changes = page.sections[titles(page).index("Persons that changed most")].blocks
    assert changes[1].caption.startswith("More joints found: 0 to 14 of 14")


def test_a_copys_past_is_its_donors(folder, drawn_people):
    search_folder = folder
    lineage = Lineage(search_folder / "lineage.jsonl")
    settings = {"reward.alpha": 0.3}
    lineage.add_decision(
        1, [Exploit(0, 2, 1, 1, 0, 12, 31.0, 35.0, settings, {"reward.alpha": [0.25, 0.3]}, "/a/step_000000012")]
    )
    for number in range(TRIALS):
        path = trial(search_folder, number, "pose", "pretrain", "joint", "joint", score=50 - number)
        predictions(path / BEFORE_JOINT, drawn_people, 5.0 + number)
        predictions(path / LATEST, drawn_people, 1.0)
    account = account_of(search_folder)
    # The best is trial 0, which was a copy of trial 2 from step 12 on.
    before = account.compared["before stage 3"][0].score
    assert before.median_error_px[0] == pytest.approx(7.0)
    led = [(part.trial, part.first_step, part.last_step) for part in account.parts if part.led_to_best]
    assert led == [(2, 0, 12), (0, 12, 16)]
    plain = {
        (part.trial, part.first_step, part.last_step, part.donor) for part in account.parts if not part.led_to_best
    }
    assert plain == {(0, 0, 12, None), (0, 12, 16, 2), (1, 0, 16, None), (2, 0, 16, None)}
    assert account.copies == [["12", "trial_00000", "31.00", "trial_00002", "35.00", "reward.alpha 0.25 to 0.3"]]
    assert "Population" in titles(page_of(search_folder))


def checkpoint_of(folder, number, generation, step, score):
    path = folder / f"trials/trial_{number:05d}/checkpoints{f'_g{generation}' if generation else ''}/step_{step:09d}"
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"score": score}))


def test_a_copy_that_has_no_score_of_its_own_yet_is_not_the_best(folder, drawn_people):
    lineage = Lineage(folder / "lineage.jsonl")
    settings = {"reward.alpha": 0.3}
    lineage.add_decision(
        1, [Exploit(0, 2, 1, 1, 0, 12, 20.0, 35.0, settings, {"reward.alpha": [0.25, 0.3]}, "/a/step_000000012")]
    )
    # The copy, of the lower number, has the donor's history, and its own old predictions are gone.
    for number in (0, 2):
        path = trial(folder, number, "pose", "pretrain", "joint", score=32.0)
        predictions(path / BEFORE_JOINT, drawn_people, 5.0)
    predictions(folder / "trials/trial_00002" / LATEST, drawn_people, 1.0)
    checkpoint_of(folder, 2, 0, 12, 35.0)
    checkpoint_of(folder, 0, 1, 12, 35.0)
    account = account_of(folder)
    assert "trial_00002" in account.compared_is
    assert account.compared["after stage 3"][0].score.median_error_px[0] == pytest.approx(1.0)


def test_data_that_has_changed_is_said_and_not_drawn(folder, drawn_people):
    path = folder / "search.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "another"}))
    best = trial(folder, 0, "pose", "pretrain", "joint")
    predictions(best / BEFORE_JOINT, drawn_people, 9.0)
    predictions(best / LATEST, drawn_people, 1.0)
    page = page_of(folder)
    assert any("holds other data now than it was trained on, of fingerprint another" in line for line in page.summary)
    (blocks,) = [section.blocks for section in page.sections if section.title == "Persons that changed most"]
    assert len(blocks) == 1
    assert "cannot be shown" in blocks[0].text


def test_predictions_of_other_persons_are_not_compared(folder, drawn_people):
    best = trial(folder, 0, "pose", "pretrain", "joint")
    predictions(best / BEFORE_JOINT, drawn_people, 9.0)
    predictions(best / LATEST, drawn_people, 1.0)
    with np.load(best / BEFORE_JOINT) as saved:
        arrays = dict(saved)
    arrays["person_id"] = np.array([f"{name} of old" for name in arrays["person_id"]])
    with (best / BEFORE_JOINT).open("wb") as file:
        np.savez(file, **arrays)
    page = page_of(folder)
    assert any("are of other persons" in line for line in page.summary)
    assert list(account_of(folder).compared) == ["after stage 3"]


def test_a_network_that_diverged_can_be_shown(folder):
    lost = replace(PROBE, loss_rotation=[float("nan")] * 3, loss_scale=[float("nan")] * 2)
    trial(folder, 0, "pose", "pretrain", "joint", probe=lost)
    (section,) = [each for each in page_of(folder).sections if each.title.startswith("What is hard")]
    assert section.blocks[-1].rows[0][2] == "nan %"


def test_a_broken_picture_is_named(folder):
    (trial(folder, 0, "pose", "pretrain", "joint") / "inputs.jpg").write_bytes(b"half of")
    assert any("inputs.jpg is not a whole picture" in line for line in page_of(folder).summary)


def test_a_run_without_augmentation_networks_has_no_predictions_to_speak_of(folder):
    bare = replace(PROBE, predicted_scale=[], predicted_rotation=[], predicted_cells=[])
    trial(folder, 0, "pose", "joint", probe=bare)
    (section,) = [each for each in page_of(folder).sections if each.title.startswith("What is hard")]
    assert "networks predict" not in section.blocks[0].text
    assert not any("third row" in getattr(block, "text", "") for block in section.blocks)


def test_arms_have_the_papers_third_row_once_both_are_there(tmp_path, tiny_config, drawn_people):
    search = arms_search(tiny_config, drawn_people.place, ["random", "asr+aho"], 2)
    write_search(search, tmp_path)
    for number in range(4):
        path = (
            trial(tmp_path, number, "pose", "pretrain", "joint")
            if number > 1
            else trial(tmp_path, number, "pose", "joint")
        )
        predictions(path / LATEST, drawn_people, 8.0 - 2 * number)
        if number != 3:
            write_ending(tmp_path / "endings.jsonl", path.name, "finished")
    account = account_of(tmp_path)
    assert {arm: sorted(by_seed) for arm, by_seed in account.compared.items()} == {"random": [0, 1], "asr+aho": [0]}
    assert account.joint_name == "asr+aho seed 0"
    assert account.random_history == account_of(tmp_path).outcomes[0].history
    page = page_of(tmp_path)
    assert page.title.startswith("Arms of the ablation")
    table = page.sections[0].blocks[0]
    assert {row[table.header.index("arm")] for row in table.rows} == {
        f"{arm} seed {seed}" for arm in ("random", "asr+aho") for seed in (0, 1)
    }


def test_a_single_run_is_told_by_its_epochs(tmp_path, tiny_config, drawn_people):
    card = RunCard(tiny_config.model_dump(), str(drawn_people.place), str(tmp_path / "checkpoints"))
    card.write(tmp_path)
    assert "It was cut before its end. No epoch has ended yet" in page_of(tmp_path).summary[0]
    records = [
        EpochRecord(stage, epoch, 4, 90, 9.0, 0.1, 30.0, {"rewarded_asr": 0.5}, {}, probe=PROBE)
        for stage, epoch in (("pose", 1), ("pretrain", 1), ("joint", 1), ("joint", 2))
    ]
    (tmp_path / "history.json").write_text(json.dumps([asdict(record) for record in records]))
    (tmp_path / "config.yaml").write_text(tiny_config.to_yaml())
    predictions(tmp_path / BEFORE_JOINT, drawn_people, 9.0)
    predictions(tmp_path / LATEST, drawn_people, 3.0)
    page = page_of(tmp_path)
    assert page.summary == ["It has ended."]
    assert titles(page) == [
        "Training",
        "Scores beside the paper's",
        "What is hard, and what the augmentation networks make of it",
        "Persons that changed most",
        "Settings to copy",
        "Cost",
    ]
    assert [row[0] for row in page.sections[0].blocks[0].rows] == ["pose", "pretrain", "joint", "joint"]
    # 4 x 9 s of one CPU, at 2 an hour.
    assert page.sections[-1].blocks[0].rows[-1] == ["cost at 2 per CPU-hour", "0.02"]


def test_folders_without_either_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run, search or arms"):
        account_of(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        account_of(tmp_path / "nowhere")
