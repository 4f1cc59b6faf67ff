from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.experiment import Experiment

from ray_advpose.errors import UserError
from ray_advpose.search.listed_trials import ListedTrials

NOTHING = "advpose_trains_nothing"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    ran_before = ray.is_initialized()
    tune.register_trainable(NOTHING, lambda config: None)
    yield Experiment("tune", NOTHING, storage_path=str(tmp_path_factory.mktemp("search")), config={}, max_failures=2)
    assert ray.is_initialized() == ran_before


def settings(count):
    return [{"reward.alpha": number / 10, "asr.scale_bins": number} for number in range(count)]


def make(trials, at_most=100):
    """The next trials."""
    found = []
    while len(found) < at_most and (trial := trials.next_trial()) is not None:
        found.append(trial)
    return found


def made(trials, at_most=100):
    """The next trials, by name and overrides."""
    return [(trial.trial_id, trial.config["overrides"]) for trial in make(trials, at_most)]


def record(folder, trials, at):
    """Write what Tune records of trials that were made."""
    content = {"trial_data": [trial.get_json_state() for trial in trials]}
    Path(folder, f"experiment_state-2026-01-01_00-00-{at:02d}.json").write_text(json.dumps(content))


def named(count, start=0):
    return [(f"trial_{number:05d}", settings(count)[number]) for number in range(start, count)]


def test_trials_come_in_the_order_of_their_settings(experiment):
    trials = ListedTrials(experiment, settings(3))
    assert trials.total_samples == 3
    assert not trials.is_finished()
    assert made(trials) == named(3)
    assert trials.is_finished()
    assert trials.next_trial() is None


def test_a_trial_is_of_its_experiment(experiment):
    trials = ListedTrials(experiment, settings(12))
    made(trials, at_most=10)
    trial = trials.next_trial()
    assert (trial.trainable_name, trial.max_failures, trial.experiment_tag) == (NOTHING, 2, "10")
    assert trial.storage.experiment_fs_path == experiment.storage.experiment_fs_path


def test_a_trial_does_not_share_its_settings_with_the_list(experiment):
    listed = settings(2)
    trial = ListedTrials(experiment, listed).next_trial()
    trial.config["overrides"]["reward.alpha"] = 0.9
    assert listed == settings(2)


@pytest.mark.parametrize(("most", "count"), [(0, 0), (2, 2), (3, 3), (7, 3), (None, 3)])
def test_no_more_are_made_than_wanted_and_listed(experiment, most, count):
    trials = ListedTrials(experiment, settings(3), most)
    assert trials.total_samples == count
    assert made(trials) == named(3)[:count]
    assert trials.is_finished()


def test_a_folder_without_a_record_has_none(experiment, tmp_path):
    trials = ListedTrials(experiment, settings(3))
    assert not trials.has_checkpoint(str(tmp_path))
    record(tmp_path, make(trials), at=1)
    assert trials.has_checkpoint(str(tmp_path))


def test_a_restored_list_goes_on_after_the_newest_record_and_may_have_grown(experiment, tmp_path):
    first = make(ListedTrials(experiment, settings(4), most=3))
    record(tmp_path, first[:1], at=9)
    record(tmp_path, first[:2], at=10)
    second = ListedTrials(experiment, settings(4), most=3)
    second.restore_from_dir(str(tmp_path))
    assert made(second) == named(4, start=2)[:1]
    longer = ListedTrials(experiment, settings(6))
    longer.restore_from_dir(str(tmp_path))
    assert longer.total_samples == 6
    assert not longer.is_finished()
    assert made(longer) == named(6, start=2)


def test_a_restored_list_that_may_make_no_more_is_finished(experiment, tmp_path):
    record(tmp_path, make(ListedTrials(experiment, settings(4))), at=1)
    second = ListedTrials(experiment, settings(4), most=2)
    second.restore_from_dir(str(tmp_path))
    assert second.is_finished()
    assert second.next_trial() is None


def test_a_search_does_not_begin_anew_where_tune_cannot_read_its_record(experiment):
    ListedTrials(experiment, settings(2)).add_configurations([experiment])
    with pytest.raises(UserError, match="cannot read its newest record"):
        ListedTrials(experiment, settings(2), goes_on=True).add_configurations([experiment])


@given(lengths=st.lists(st.integers(0, 8), min_size=1, max_size=5), pauses=st.lists(st.integers(0, 4), min_size=5))
def test_every_trial_is_made_once_over_all_starts(experiment, tmp_path_factory, lengths, pauses):
    folder = str(tmp_path_factory.mktemp("starts"))
    found = []
    for start, (length, pause) in enumerate(zip(sorted(lengths), pauses, strict=False)):
        trials = ListedTrials(experiment, settings(length))
        if trials.has_checkpoint(folder):
            trials.restore_from_dir(folder)
        found += make(trials, at_most=pause)
        record(folder, found, at=start)
    longest = ListedTrials(experiment, settings(8))
    longest.restore_from_dir(folder)
    assert [(trial.trial_id, trial.config["overrides"]) for trial in found] + made(longest) == named(8)
