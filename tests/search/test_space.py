from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.errors import UserError
from ray_advpose.presets import QUICK
from ray_advpose.search.space import Choice, LogUniform, SearchSpace, Uniform, load_space

SPACES = Path(__file__).parents[2] / "search_spaces"


def space(**fields):
    return SearchSpace(trials=4, fields={name.replace("__", "."): domain for name, domain in fields.items()})


@given(trials=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_every_value_of_a_choice_is_tried_equally_often_give_or_take_one(trials, seed):
    drawn = space(asr__scale_bins=Choice((5, 7, 9))).draw(trials, seed)
    counts = [sum(trial["asr.scale_bins"] == value for trial in drawn) for value in (5, 7, 9)]
    assert sum(counts) == trials
    # Each third of the quantiles holds as many of the evenly spread draws as fit, up to one at each edge.
    assert max(counts) - min(counts) <= 2


@given(trials=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_draws_keep_to_their_bounds(trials, seed):
    drawn = space(reward__alpha=Uniform(0.1, 0.4), optim__pose_lr=LogUniform(1e-4, 1e-2)).draw(trials, seed)
    assert all(0.1 <= trial["reward.alpha"] <= 0.4 for trial in drawn)
    assert all(1e-4 * (1 - 1e-9) <= trial["optim.pose_lr"] <= 1e-2 * (1 + 1e-9) for trial in drawn)


def test_a_range_is_covered_evenly():
    drawn = sorted(trial["reward.alpha"] for trial in space(reward__alpha=Uniform(0.0, 1.0)).draw(10, seed=3))
    assert [int(value * 10) for value in drawn] == list(range(10))


def test_draws_depend_on_the_seed_alone():
    given_space = space(reward__alpha=Uniform(0.1, 0.4))
    assert given_space.draw(5, 1) == given_space.draw(5, 1)
    assert given_space.draw(5, 1) != given_space.draw(5, 2)


def test_log_uniform_is_even_in_the_logarithm():
    assert LogUniform(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)


@pytest.mark.parametrize("name", sorted(path.name for path in SPACES.glob("*.py")))
def test_spaces_that_come_along_are_valid(name):
    loaded = load_space(SPACES / name, QUICK.replaced({"net.input_px": 256, "aho.grid_width": 4, "aho.grid_height": 4}))
    assert loaded.draw(loaded.trials, seed=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SPACE = SearchSpace(2, {'reward.alpah': Uniform(0.1, 0.2)})", ["reward.alpah", "reward.alpha"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': Uniform(0, 0.2)})", ["reward.alpha", "0", "greater than 0"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': Uniform(0.1, 1.5)})", ["reward.alpha", "1.5", "less than or equal"]),
        ("SPACE = {'reward.alpha': 1}", ["sets no SPACE", "dict"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': Unifrom(0, 0.2)})", ["Unifrom"]),
        ("SPACE = SearchSpace(2, {'aho.grid_width': Choice((3, 99))})", ["aho.grid_width", "99"]),
        ("SPACE = SearchSpace(0, {'aho.grid_width': Choice((3, 4))})", ["SPACE.trials = 0"]),
        ("SPACE = SearchSpace(2, {'aho.grid_width': Choice((3, 4))}, 0)", ["SPACE.grace_joint_epochs = 0"]),
        ("SPACE = SearchSpace(2, {'aho.grid_width': Choice(())})", ["at least one value"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': LogUniform(0, 1)})", ["LogUniform(0, 1)", "positive"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': Uniform(0.5, 0.2)})", ["Uniform(0.5, 0.2)"]),
        ("SPACE = SearchSpace(2, {'reward.alpha': 0.3})", ["reward.alpha = 0.3"]),
        (
            "SPACE = SearchSpace(2, {'stages.joint_epochs': Choice((1, 2))})",
            ["stages.joint_epochs", "be searched"],
        ),
    ],
)
def test_a_bad_space_is_refused_by_file_field_and_value(tmp_path, text, words):
    path = tmp_path / "bad.py"
    path.write_text("from ray_advpose.search.space import *\n" + text)
    with pytest.raises(UserError) as refused:
        load_space(path, QUICK)
    assert all(word in str(refused.value) for word in [str(path), *words])


def test_a_missing_space_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py"):
        load_space(tmp_path / "nowhere.py", QUICK)
