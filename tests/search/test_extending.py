"""A search gets more trials."""

from __future__ import annotations

from dataclasses import replace

import pytest
from laid_out import GRID, SPACE

from ray_advpose.errors import UserError
from ray_advpose.search.continuing import continued, extended, moved_data
from ray_advpose.search.domains import Choice
from ray_advpose.search.endings import ENDINGS, FAILED, FINISHED, STOPPED, write_ending
from ray_advpose.search.scheduling import Exploiting, RunAll
from ray_advpose.search.space import SearchSpace


def end_all(search, output, endings=(FINISHED, STOPPED)):
    for number in range(search.trials):
        write_ending(output / ENDINGS, f"trial_{number:05d}", endings[number % len(endings)])


@pytest.mark.parametrize("draw", ["latin", "random"])
def test_a_search_that_has_ended_gets_more_trials_after_those_it_has(lay_out, tmp_path, draw):
    search = lay_out(replace(SPACE, draw=draw))
    end_all(search, tmp_path, (FINISHED, STOPPED, FAILED))
    longer = extended(search, 4, tmp_path)
    assert longer.trials == len(longer.overrides) == 8
    assert longer.overrides[:4] == search.overrides
    assert len({str(each) for each in longer.overrides}) == 8, "a trial is drawn twice"
    assert extended(search, 4, tmp_path) == longer
    end_all(longer, tmp_path)
    assert extended(longer, 1, tmp_path).overrides[:8] == longer.overrides


def test_a_search_is_not_extended_while_trials_are_open(lay_out, tmp_path, capsys):
    search = lay_out()
    assert extended(search, 3, tmp_path) == search
    assert "4 of 4 trials have not ended" in capsys.readouterr().err
    end_all(search, tmp_path)
    longer = extended(search, 3, tmp_path)
    # Cut now, and the same command once more.
    assert extended(continued(moved_data(longer, None), longer, tmp_path), 3, tmp_path) == longer
    assert "3 of 7 trials have not ended" in capsys.readouterr().err


def test_a_grid_is_extended_to_its_end_and_not_beyond(lay_out, tmp_path):
    search = lay_out(GRID, trials=4)
    end_all(search, tmp_path)
    longer = extended(search, 2, tmp_path)
    assert longer.overrides == GRID.drawn(6, 0)
    assert longer.overrides[:4] == search.overrides
    with pytest.raises(UserError, match=r"--extend 3: the grid has 6 combinations, all but 2 are there"):
        extended(search, 3, tmp_path)


def test_trials_of_a_grid_stay_when_it_goes_on_with_another(lay_out, tmp_path):
    held = lay_out(GRID, trials=4)
    end_all(held, tmp_path)
    other = replace(GRID, fields={"asr.scale_bins": Choice((5, 7)), "aho.max_cells": Choice((1, 2, 3))})
    going_on = continued(lay_out(other, trials=4), held, tmp_path, ["space"])
    assert extended(going_on, 2, tmp_path).overrides[:4] == held.overrides


def test_what_cannot_be_extended_is_one_sentence(lay_out, tmp_path):
    exploiting = lay_out(replace(SPACE, scheduling=Exploiting(("reward.alpha",))))
    arms = replace(lay_out(SearchSpace({}, scheduling=RunAll())), labels=["a", "b", "c", "d"])
    for search, more, words in (
        (lay_out(), 0, "--extend 0: expected at least 1"),
        (exploiting, 1, "trials that copy each other start together"),
        (arms, 1, "holds arms; name their seeds instead"),
    ):
        end_all(search, tmp_path)
        with pytest.raises(UserError, match=words):
            extended(search, more, tmp_path)
