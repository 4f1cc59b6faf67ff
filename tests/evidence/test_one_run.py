from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from ray_advpose.config import Config
from ray_advpose.data.rescoring import score_file
from ray_advpose.errors import UserError
from ray_advpose.evidence.arms import Run, Tuned, arm_runs, stage_one, tuning_runs
from ray_advpose.evidence.held import subset_of
from ray_advpose.evidence.one_run import Means, is_done, predictions_file, read_history, train_run
from ray_advpose.training.schedule import make_schedule

WHOLE = 45


def always() -> bool:
    return True


def runs_of(base: Config, arm: str, images: int = WHOLE) -> list[Run]:
    found = Tuned(joint={}, random={"random.rotation_times": 1.5})
    return [stage_one(base, 0, images), *arm_runs(base, [arm], [0], images, found)]


def told(means: Means, run: Run):
    result = json.loads((means.folder / run.name / "result.json").read_text())
    for name in ("seconds", "ended"):
        result.pop(name)
    history = [replace(record, seconds=0.0, waiting_share=0.0) for record in read_history(means.folder, run.name)]
    return result, history


@pytest.mark.parametrize("images", [WHOLE, 20])
@pytest.mark.parametrize("arm", ["asr+aho", "uniform", "tuned random"])
def test_a_run_that_is_cut_again_and_again_ends_as_one_that_is_not(
    arm: str, images: int, base: Config, means: Means, tmp_path
):
    cut = replace(means, folder=tmp_path / "cut")
    for run in runs_of(base, arm, images):
        assert train_run(run, means, always)
        pieces = 0
        for length in count(1):
            asked = iter(range(length))
            pieces += 1
            if train_run(run, cut, lambda asked=asked: next(asked, None) is not None):
                break
        assert pieces > 2
        assert told(means, run) == told(cut, run)
    assert not (means.folder / run.name / "checkpoint").exists()


def test_an_arm_scores_itself_by_its_files(base: Config, means: Means):
    first, arm = runs_of(base, "aho")
    assert train_run(first, means, always)
    assert not predictions_file(means.folder, first.name, "test").exists()
    assert train_run(arm, means, always)
    result, history = told(means, arm)
    assert score_file(predictions_file(means.folder, arm.name, "val")).score.pooled == pytest.approx(history[-1].metric)
    assert score_file(predictions_file(means.folder, arm.name, "test")).score.persons > 0
    assert result["predictions_sha256"].keys() == {"val", "test", "changed"}
    assert json.loads((means.folder / arm.name / "robustness.json").read_text())["split"] == "test"


def test_a_test_part_is_not_opened_by_tuning(base: Config, means: Means):
    (tuning,) = tuning_runs(base, 0, WHOLE, {"random": [{"random.scale_times": 0.5}]})
    assert train_run(stage_one(base, 0, WHOLE), means, always)
    blind = replace(means, splits={name: split for name, split in means.splits.items() if name != "test"})
    assert train_run(tuning, blind, always)
    assert not predictions_file(means.folder, tuning.name, "test").exists()


def test_a_run_that_has_ended_is_left_alone(base: Config, means: Means):
    run = stage_one(base, 0, WHOLE)
    assert train_run(run, means, always)
    before = (means.folder / run.name / "result.json").stat().st_mtime_ns
    assert train_run(run, means, lambda: pytest.fail("nothing is left to train"))
    assert (means.folder / run.name / "result.json").stat().st_mtime_ns == before


def test_a_smaller_set_is_all_that_is_trained_on(base: Config, means: Means):
    """With every other image made unreadable, weights come out the same."""
    run = stage_one(base, 0, 20)
    assert train_run(run, means, always)
    seen = np.unique(np.concatenate([b.sample.numpy() for b in _batches(run, means)]))
    assert len(seen) == 20
    train = means.splits["train"]
    spoilt = train.canvas.clone()
    others = np.setdiff1d(np.arange(WHOLE), seen)
    spoilt[others] = 255
    again = replace(
        means, folder=means.folder.parent / "again", splits={**means.splits, "train": replace(train, canvas=spoilt)}
    )
    assert train_run(run, again, always)
    assert told(means, run) == told(again, run)


def _batches(run: Run, means: Means):
    train = means.splits["train"]
    return train.batches(make_schedule(run.config, len(train)), 0, subset_of(len(train), run.images))


def test_a_checkpoint_that_is_cut_off_is_refused(base: Config, means: Means):
    first, arm = runs_of(base, "asr")
    assert train_run(first, means, always)
    state = means.folder / first.name / "checkpoint" / "state.pt"
    state.write_bytes(state.read_bytes()[:-7])
    with pytest.raises(UserError, match="does not match"):
        train_run(arm, means, always)
    assert not is_done(means.folder, arm.name)


def test_a_cut_between_two_checkpoints_costs_none(base: Config, means: Means):
    run = stage_one(base, 0, WHOLE)
    asked = iter(range(5))
    assert not train_run(run, means, lambda: next(asked, None) is not None)
    folder = means.folder / run.name
    (folder / "checkpoint").rename(folder / "checkpoint.part")
    calls = []
    assert train_run(run, means, lambda: calls.append(0) is None)
    assert len(calls) < 8


def test_a_checkpoint_that_was_being_deleted_gives_way_to_the_next(base: Config, means: Means):
    run = stage_one(base, 0, WHOLE)
    asked = iter(range(5))
    assert not train_run(run, means, lambda: next(asked, None) is not None)
    folder = means.folder / run.name
    shutil.copytree(folder / "checkpoint", folder / "checkpoint.part")
    (folder / "checkpoint" / "state.pt").unlink()
    assert train_run(run, means, always)


def test_a_stage_one_that_was_cut_before_it_said_so_has_ended(base: Config, means: Means):
    first, arm = runs_of(base, "aho")
    assert train_run(first, means, always)
    told_before = told(means, first)
    (means.folder / first.name / "result.json").unlink()
    assert train_run(first, means, lambda: pytest.fail("nothing is left to train"))
    assert told(means, first) == told_before
    assert train_run(arm, means, always)
