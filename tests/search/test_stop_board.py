from __future__ import annotations

import pytest

from ray_advpose.search.stop_board import StopBoard


@pytest.fixture
def boards(tmp_path):
    """The search's board, and a trial's in another process."""
    return StopBoard(tmp_path), StopBoard(tmp_path)


def test_nobody_is_asked_before_the_search_asks(boards):
    search, trial = boards
    search.clear()
    assert not trial.asked()
    search.ask()
    assert trial.asked()
    search.ask()
    assert trial.asked()


def test_an_answer_is_a_trials_own(boards):
    search, trial = boards
    search.ask()
    assert not search.answered("trial_00001")
    trial.answer("trial_00001")
    assert search.answered("trial_00001")
    assert not search.answered("trial_0000")
    assert not search.answered("trial_00002")


def test_a_trial_stands_still_until_the_search_ends(boards):
    search, trial = boards
    search.ask()
    assert not trial.ended()
    trial.answer("trial_00000")
    assert not trial.ended()
    search.end()
    assert trial.ended()


@pytest.mark.parametrize("trial_id", ["asked", "ended"])
def test_no_name_of_a_trial_is_taken_for_a_note_of_the_searchs(boards, trial_id):
    search, trial = boards
    search.ask()
    trial.answer(trial_id)
    assert not trial.ended()
    assert not search.answered("trial_00000")


def test_a_former_stop_is_forgotten_and_who_still_stands_is_let_go(boards):
    search, trial = boards
    search.ask()
    trial.answer("trial_00000")
    search.clear()
    assert trial.ended()
    assert not trial.asked()
    search.ask()
    assert not trial.ended()
    assert not search.answered("trial_00000")


def test_what_else_is_in_the_folder_stays(boards, tmp_path):
    (tmp_path / "search.json").touch()
    search, _ = boards
    search.clear()
    search.ask()
    search.end()
    search.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]
