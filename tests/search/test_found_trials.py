"""Trials that Optuna finds: made once each, whatever was recorded when the search was cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray import tune
from ray.tune.experiment import Experiment, Trial
from test_listed_trials import NOTHING, make

from ray_advpose.errors import UserError
from ray_advpose.search.domains import Uniform
from ray_advpose.search.found_trials import FoundTrials
from ray_advpose.search.session import new_search
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.tune_parts import make_searcher

pytest.importorskip("optuna")
SPACE = SearchSpace({"reward.alpha": Uniform(0.1, 0.9)}, 6, draw="optuna")


@pytest.fixture
def found(tiny_config, drawn_people, tmp_path):
    """Makes the trials of a start of the search, in a folder of that start."""
    tune.register_trainable(NOTHING, lambda config: None)
    search = new_search(tiny_config, drawn_people.place, SPACE, 6, [])

    def call(folder="found", slots=2, most=None, goes_on=False) -> FoundTrials:
        experiment = Experiment("tune", NOTHING, storage_path=str(tmp_path / folder), config={})
        trials = make_searcher(search, experiment, slots, most, goes_on)
        trials.set_search_properties("metric", "max", {})
        return trials

    return call


def alpha(trial):
    return trial.config["overrides"]["reward.alpha"]


def tell(trials, trial, score):
    result = {"metric": score, "training_iteration": 1}
    trials.on_trial_result(trial.trial_id, result)
    trials.on_trial_complete(trial.trial_id, result)
    trial.set_status(Trial.TERMINATED)


def record(folder: Path, trials, made, at=1):
    content = {"trial_data": [trial.get_json_state() for trial in made]}
    (folder / f"experiment_state-2026-01-01_00-00-{at:02d}.json").write_text(json.dumps(content))
    trials.save_to_dir(str(folder), "2026-01-01_00-00-00")


def to_the_end(trials, made):
    """Train whatever is given, two at a time."""
    running = [trial for trial in made if trial.status != Trial.TERMINATED]
    while not trials.is_finished() or running:
        new = make(trials)
        made += new
        running += new
        tell(trials, running.pop(0), score=len(made))
    return made


def test_as_many_at_a_time_as_there_is_room_for_under_numbers(found):
    trials = found()
    made = make(trials)
    assert [trial.trial_id for trial in made] == ["trial_00000", "trial_00001"]
    assert all(0.1 <= alpha(trial) <= 0.9 for trial in made)
    whole = to_the_end(trials, made)
    assert [trial.trial_id for trial in whole] == [f"trial_{number:05d}" for number in range(6)]
    assert len({alpha(trial) for trial in whole}) == 6


def test_another_start_goes_on_in_its_own_folder_and_finds_what_the_first_would_have(found, tmp_path):
    undisturbed = [alpha(trial) for trial in to_the_end(found("undisturbed"), [])]
    trials = found("before")
    made = make(trials)
    tell(trials, made[0], score=2)
    made += make(trials)
    record(tmp_path, trials, made)

    again = found("elsewhere", slots=3, most=5, goes_on=True)
    assert again.has_checkpoint(str(tmp_path))
    again.restore_from_dir(str(tmp_path))
    whole = to_the_end(again, list(made))
    assert [trial.trial_id for trial in whole] == [f"trial_{number:05d}" for number in range(5)]
    assert [alpha(trial) for trial in whole[:3]] == undisturbed[:3]
    assert Path(whole[-1].storage.storage_fs_path) == tmp_path / "elsewhere"


def test_a_searcher_that_was_recorded_sooner_or_not_at_all_makes_no_trial_twice(found, tmp_path):
    trials = found()
    made = make(trials)
    record(tmp_path, trials, made)
    tell(trials, made[0], score=1)
    made += make(trials)
    # Cut between the two.
    content = {"trial_data": [trial.get_json_state() for trial in made]}
    (tmp_path / "experiment_state-2026-01-01_00-00-02.json").write_text(json.dumps(content))
    for without_searcher in (False, True):
        for path in tmp_path.glob("search*-*") if without_searcher else []:
            path.unlink()
        again = found(goes_on=True)
        again.restore_from_dir(str(tmp_path))
        names = [trial.trial_id for trial in to_the_end(again, list(made))]
        assert names == [f"trial_{number:05d}" for number in range(6)]


def test_what_nobody_knows_of_is_no_beginning_of_another_trial(found, tmp_path):
    trials = found()
    made = make(trials)
    record(tmp_path, trials, made)
    folders = [tmp_path / "found" / "trials" / f"trial_{number:05d}" for number in range(4)]
    for folder in folders:
        (folder / "checkpoints").mkdir(parents=True)
    again = found(goes_on=True)
    again.restore_from_dir(str(tmp_path))
    assert [folder.exists() for folder in folders] == [True, True, False, False]


def test_a_record_that_cannot_be_read_is_no_reason_to_begin_anew(found):
    with pytest.raises(UserError, match="Tune cannot read its newest record"):
        found(goes_on=True).add_configurations([])
