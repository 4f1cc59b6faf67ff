from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.errors import UserError
from ray_advpose.presets import QUICK
from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.space import SearchSpace, load_space

SPACES = Path(__file__).parents[2] / "search_spaces"
IMPORTS = """
from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting, Halving
from ray_advpose.search.space import SearchSpace
"""


def space(**fields):
    return SearchSpace(trials=4, fields={name.replace("__", "."): domain for name, domain in fields.items()})


@given(trials=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_every_value_of_a_choice_is_tried_equally_often_give_or_take_one(trials, seed):
    drawn = space(asr__scale_bins=Choice((5, 7, 9))).drawn(trials, seed)
    counts = [sum(trial["asr.scale_bins"] == value for trial in drawn) for value in (5, 7, 9)]
    assert sum(counts) == trials
    # Each third of the quantiles holds as many of the evenly spread draws as fit, up to one at each edge.
    assert max(counts) - min(counts) <= 2


@given(trials=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_draws_keep_to_their_bounds(trials, seed):
    drawn = space(reward__alpha=Uniform(0.1, 0.4), optim__pose_lr=LogUniform(1e-4, 1e-2)).drawn(trials, seed)
    assert all(0.1 <= trial["reward.alpha"] <= 0.4 for trial in drawn)
    assert all(1e-4 <= trial["optim.pose_lr"] <= 1e-2 for trial in drawn)


def test_a_range_is_covered_evenly():
    drawn = sorted(trial["reward.alpha"] for trial in space(reward__alpha=Uniform(0.0, 1.0)).drawn(10, seed=3))
    assert [int(value * 10) for value in drawn] == list(range(10))


def test_draws_depend_on_the_seed_alone():
    given_space = space(reward__alpha=Uniform(0.1, 0.4))
    assert given_space.drawn(5, 1) == given_space.drawn(5, 1)
    assert given_space.drawn(5, 1) != given_space.drawn(5, 2)


def test_log_uniform_is_even_in_the_logarithm():
    assert LogUniform(1e-4, 1e-2).at(0.5) == pytest.approx(1e-3)


@pytest.mark.parametrize("name", sorted(path.name for path in SPACES.glob("*.py")))
def test_spaces_that_come_along_are_valid(name):
    loaded = load_space(SPACES / name, QUICK.replaced({"net.input_px": 256, "aho.grid_width": 4, "aho.grid_height": 4}))
    assert len(loaded.drawn(loaded.count(), seed=0)) == loaded.count()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SearchSpace({'reward.alpah': Uniform(0.1, 0.2)}, 2)", ["reward.alpah", "reward.alpha"]),
        ("SearchSpace({'reward.alpha': Uniform(0, 0.2)}, 2)", ["reward.alpha", "0", "greater than 0"]),
        ("SearchSpace({'reward.alpha': Uniform(0.1, 1.5)}, 2)", ["reward.alpha", "1.5", "less than or equal"]),
        ("{'reward.alpha': 1}", ["sets no SPACE", "dict"]),
        ("SearchSpace({'reward.alpha': Unifrom(0, 0.2)}, 2)", ["Unifrom"]),
        ("SearchSpace({'aho.grid_width': Choice((3, 99))}, 2)", ["aho.grid_width", "99"]),
        ("SearchSpace({'asr.scale_bins': Uniform(5, 9)}, 2)", [".py:", "asr.scale_bins = 6.5", "integer"]),
        ("SearchSpace({'asr.scale_bins': Uniform(5, 9)}, draw='optuna', trials=2)", ["asr.scale_bins = 6.5"]),
        ("SearchSpace({'aho.grid_width': Choice((3, 4))}, 0)", ["SPACE.trials = 0"]),
        ("SearchSpace({'aho.grid_width': Choice((3, 4))})", ["SPACE.trials = None"]),
        ("SearchSpace({}, 2)", ["SPACE.fields = {}", "expected a domain"]),
        ("SearchSpace(2, {'reward.alpha': Uniform(0.1, 0.2)})", ["SPACE.fields = 2", "should be an object"]),
        ("SearchSpace({'reward.alpha': Uniform(-1, 0.2)}, 2)", [".py:", "reward.alpha = -1.0"]),
        ("SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, 2, draw='gird')", ["SPACE.draw = 'gird'", "'grid'"]),
        ("SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, 2, Halving(1.5))", ["grace_joint_epochs = 1.5", "integer"]),
        ("SearchSpace({'aho.grid_width': Choice((3, 4))}, 2, Halving(0))", ["grace_joint_epochs = 0"]),
        ("SearchSpace({'aho.grid_width': Choice(())}, 2)", ["at least one value"]),
        ("SearchSpace({'reward.alpha': LogUniform(0, 1)}, 2)", ["LogUniform(0, 1)", "positive"]),
        ("SearchSpace({'reward.alpha': Uniform(0.5, 0.2)}, 2)", ["Uniform(0.5, 0.2)"]),
        ("SearchSpace({'reward.alpha': 0.3}, 2)", ["reward.alpha = 0.3"]),
        ("SearchSpace({'stages.joint_epochs': Choice((1, 2))}, 2)", ["stages.joint_epochs", "be searched"]),
        ("SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, draw='grid')", ["grid", "Choice for reward.alpha"]),
        (
            "SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, 2, Exploiting(('reward.alhpa',)))",
            ["'reward.alhpa'", "did you mean", "reward.alpha"],
        ),
        (
            "SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, 2, Exploiting(('reward.alpha')))",
            ["mutate = 'reward.alpha'", "expected names"],
        ),
        (
            "SearchSpace({'net.stacks': Choice((1, 2))}, 2, Exploiting(('net.stacks',)))",
            ["net.stacks cannot change within a trial"],
        ),
        (
            "SearchSpace({'reward.alpha': Choice((0.1,))}, 2, Exploiting(('reward.alpha',)))",
            ["reward.alpha", "one value only"],
        ),
        (
            "SearchSpace({'reward.alpha': Uniform(0.1, 0.2)}, 2, Exploiting(('reward.alpha',)), 'optuna')",
            ["optuna"],
        ),
    ],
)
def test_a_bad_space_is_refused_by_file_field_and_value(tmp_path, text, words):
    path = tmp_path / "bad.py"
    path.write_text(f"{IMPORTS}SPACE = {text}")
    with pytest.raises(UserError) as refused:
        load_space(path, QUICK)
    assert all(word in str(refused.value) for word in [str(path), *words])


@pytest.mark.parametrize(("name", "line"), [("reward.alhpa", 7), ("optim.pose_lr", 7), ("optim.joint_lr", 4)])
def test_what_is_wrong_is_named_with_its_own_line(tmp_path, name, line):
    """Not with that of a name which it resembles."""
    lines = [
        "SPACE = SearchSpace(",
        "    {",
        "        'reward.alpha': Uniform(0.1, 0.2),",
        "        'optim.joint_lr': Choice((1e-3,)),",
        "    },",
        "    2,",
        f"    Exploiting(({name!r},)),",
        ")",
    ]
    path = tmp_path / "bad.py"
    path.write_text(IMPORTS + "\n".join(lines))
    with pytest.raises(UserError) as refused:
        load_space(path, QUICK)
    assert str(refused.value).startswith(f"{path}:{IMPORTS.count(chr(10)) + line}: ")


def test_a_grid_is_all_combinations():
    grid = SearchSpace({"asr.scale_bins": Choice((5, 7)), "aho.grid_width": Choice((2, 3, 4))}, draw="grid")
    drawn = grid.drawn(grid.count(), seed=0)
    assert len(drawn) == 6
    assert {tuple(trial.values()) for trial in drawn} == {(bins, width) for bins in (5, 7) for width in (2, 3, 4)}


def test_random_draws_are_independent():
    plain = SearchSpace({"reward.alpha": Uniform(0.0, 1.0)}, 200, draw="random")
    tenths = [int(trial["reward.alpha"] * 10) for trial in plain.drawn(200, seed=3)]
    counts = [tenths.count(tenth) for tenth in range(10)]
    assert min(counts) > 5, "one tenth is hardly ever drawn"
    assert len(set(counts)) > 1, "evenly spread, as independent draws are not"


NUMBERS = st.one_of(
    st.builds(lambda low, width: Uniform(low, low + width), st.floats(-1, 1), st.floats(0.01, 1)),
    st.builds(lambda low, factor: LogUniform(low, low * factor), st.floats(1e-5, 1), st.floats(1.01, 100)),
)


@given(domain=NUMBERS, quantile=st.floats(0, 1, exclude_max=True), ups=st.lists(st.booleans(), max_size=30))
def test_a_number_moves_within_its_bounds_and_never_stays(domain, quantile, ups):
    value = domain.at(quantile)
    for up in ups:
        moved = domain.moved(value, up)
        assert domain.holds(moved)
        assert moved != value
        value = moved


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 0.0), (-1.0, 1.0), (-0.1, 1.0), (-1.0, 0.1)])
@pytest.mark.parametrize("up", [True, False])
def test_zero_moves_by_a_fifth_of_the_range(low, high, up):
    moved = Uniform(low, high).moved(0.0, up)
    assert low <= moved <= high
    assert abs(moved) == pytest.approx(0.2 * (high - low))
    if low == -high:
        assert (moved > 0) == up


@given(count=st.integers(2, 6), ups=st.lists(st.booleans(), max_size=30))
def test_a_choice_moves_to_a_neighbour(count, ups):
    domain = Choice(tuple("abcdef"[:count]))
    value = "a"
    for up in ups:
        moved = domain.moved(value, up)
        assert abs(domain.values.index(moved) - domain.values.index(value)) == 1
        value = moved


def test_a_missing_space_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py"):
        load_space(tmp_path / "nowhere.py", QUICK)
