from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from laid_out import ALPHA, FIELDS, GRID, OUTPUT, SPACE

from ray_advpose.cluster.software import software
from ray_advpose.data.shard_writer import write_shards
from ray_advpose.data.sources.synthetic import generate_synthetic
from ray_advpose.errors import UserError
from ray_advpose.search.continuing import check_allowed, continued, moved_data, what_is_kept
from ray_advpose.search.domains import Choice, Uniform
from ray_advpose.search.endings import ENDINGS, FAILED, FINISHED, STOPPED, write_ending
from ray_advpose.search.places import checkpoints_of
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping, RunAll
from ray_advpose.search.space import SearchSpace
from ray_advpose.search.stored import has_search, read_search, write_search


@pytest.fixture(scope="session")
def other_people(tmp_path_factory):
    """The folder of another data set of the same form."""
    out = tmp_path_factory.mktemp("other") / "drawn"
    write_shards(generate_synthetic(60, seed=1, image_px=96), out, box_px=32, workers=1)
    return out


def refusal(wanted, held, allow=()):
    with pytest.raises(UserError) as refused:
        continued(wanted, held, OUTPUT, allow)
    return str(refused.value)


def test_the_same_search_goes_on(lay_out):
    held = lay_out()
    assert continued(lay_out(), held, OUTPUT) == held


def test_the_name_of_a_preset_makes_no_other_search(lay_out):
    assert continued(lay_out(preset="renamed"), lay_out(), OUTPUT).config.preset == "renamed"


def test_a_changed_field_is_refused_with_both_values_and_what_would_allow_it(lay_out):
    wanted = lay_out(optim__joint_lr=5e-4, loss__foreground_weight=7.0)
    assert refusal(wanted, lay_out()).splitlines() == [
        f"{OUTPUT} holds a search that differs from this one; name another --out, or add --allow-change"
        " loss.foreground_weight, or add --allow-change optim.joint_lr:",
        "  loss.foreground_weight: 5.0 there, 7.0 here",
        "  optim.joint_lr: 0.001 there, 0.0005 here",
    ]
    assert "optim.joint_lr" not in refusal(wanted, lay_out(), ["optim.joint_lr"])


def test_an_allowed_field_is_taken_over_and_drawn_trials_stay(lay_out):
    held = lay_out()
    wanted = lay_out(optim__joint_lr=5e-4, run__seed=9)
    assert wanted.overrides != held.overrides
    going_on = continued(wanted, held, OUTPUT, ["optim.joint_lr", "run.seed"])
    assert going_on.config.optim.joint_lr == 5e-4
    assert going_on.overrides == held.overrides
    assert replace(going_on, overrides=wanted.overrides, allowed=[]) == wanted
    assert going_on.allowed == ["optim.joint_lr", "run.seed"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("net__channels", 12), ("asr__rotation_bins", 6), ("aho__enabled", False), ("optim__optimizer", "rmsprop")],
)
def test_a_change_of_networks_is_refused_although_allowed(lay_out, field, value):
    name, held = field.replace("__", "."), lay_out()
    said = refusal(lay_out(**{field: value}), held, [name])
    assert f"{name}: {held.config.flat()[name]} there, {value} here" in said
    assert "--allow-change" not in said


OTHER_SPACES = {
    "space scheduling.reduction_factor: 2 there, 3 here": SearchSpace(FIELDS, 4, Halving(1, 3)),
    "space scheduling.kind: halving there, median here": SearchSpace(FIELDS, 4, MedianStopping()),
    "space draw: latin there, random here": SearchSpace(FIELDS, 4, draw="random"),
    "space fields.aho.max_cells: none there": SearchSpace({**FIELDS, "aho.max_cells": Choice((1, 2))}, 4),
    "space fields.reward.alpha: {'low': 0.05": SearchSpace({**FIELDS, "reward.alpha": Uniform(0.1, 0.5)}, 4),
}


@pytest.mark.parametrize("line", OTHER_SPACES)
def test_another_space_is_refused_line_by_line_and_allowed_by_its_name(lay_out, line):
    held, wanted = lay_out(), lay_out(OTHER_SPACES[line])
    said = refusal(wanted, held)
    assert line in said
    assert "or add --allow-change space:" in said
    assert continued(wanted, held, OUTPUT, ["space"]) == replace(wanted, overrides=held.overrides, allowed=["space"])


def test_trials_that_copy_each_other_get_no_field_that_they_have_no_value_of(lay_out):
    copying = SearchSpace({"reward.alpha": ALPHA}, 4, Exploiting(("reward.alpha",)))
    more = SearchSpace({**copying.fields, "reward.beta": ALPHA}, 4, Exploiting(("reward.alpha", "reward.beta")))
    said = refusal(lay_out(more), lay_out(copying), ["space"])
    assert said == f"{OUTPUT} was begun without reward.beta in its space, and its trials have no value of it"
    assert continued(lay_out(copying), lay_out(more), OUTPUT, ["space"]).space == copying


def test_other_data_is_refused_and_allowed_by_its_name(lay_out, other_people):
    held, wanted = lay_out(), lay_out(data=other_people)
    said = refusal(wanted, held)
    assert f"data {other_people}: {held.fingerprint} there, {wanted.fingerprint} here" in said
    assert "or add --allow-change data:" in said
    going_on = continued(wanted, held, OUTPUT, ["data"])
    assert (going_on.data, going_on.fingerprint, going_on.allowed) == (str(other_people), wanted.fingerprint, ["data"])
    assert going_on.overrides == held.overrides


def test_other_software_is_refused_and_allowed_by_its_name(lay_out):
    wanted = lay_out()
    held = replace(wanted, software={**wanted.software, "torch": "1.0"})
    said = refusal(wanted, held)
    assert f"torch: 1.0 there, {wanted.software['torch']} here" in said
    assert "or add --allow-change code:" in said
    assert continued(wanted, held, OUTPUT, ["code"]).software == software()


def test_another_number_of_trials_is_refused_whatever_is_allowed(lay_out):
    wanted = lay_out(replace(SPACE, trials=6), trials=6)
    assert refusal(wanted, lay_out(), ["space", "data", "code"]).splitlines() == [
        f"{OUTPUT} holds a search that differs from this one; name another --out:",
        "  trials: 4 (--extend N adds some) there, 6 here",
    ]


def test_how_many_trials_a_space_names_does_not_matter_when_the_command_says_otherwise(lay_out):
    wanted = lay_out(replace(SPACE, trials=6), trials=4)
    assert continued(wanted, lay_out(), OUTPUT) == wanted


def test_what_can_be_allowed_is_a_field_or_data_code_or_space():
    check_allowed(["data", "code", "space", "reward.alpha", "net.channels"])
    with pytest.raises(UserError, match=r"--allow-change: unknown field 'reward\.alhpa'.*reward\.alpha"):
        check_allowed(["space", "reward.alhpa"])


def begun(output, trial, steps, generation=0):
    for step in steps:
        folder = Path(checkpoints_of(output, f"trial_{trial:05d}", generation), f"step_{step:09d}")
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")


def test_what_is_kept_counts_every_trial_once(lay_out, tmp_path):
    search = lay_out(trials=8)
    assert what_is_kept(search, tmp_path) == f"{tmp_path}: 0 of 8 trials are kept; 8 begin"
    for trial, ending in ((0, FINISHED), (1, STOPPED), (2, FAILED), (3, FAILED), (3, FINISHED), (4, FAILED)):
        write_ending(tmp_path / ENDINGS, f"trial_{trial:05d}", ending)
    for trial, steps in ((0, [18]), (1, [14]), (2, [4, 8]), (3, [18]), (5, [])):
        begun(tmp_path, trial, steps)
    begun(tmp_path, 6, [4])
    begun(tmp_path, 6, [14], generation=1)
    Path(checkpoints_of(tmp_path, "trial_00005", 0)).mkdir(parents=True)
    assert what_is_kept(search, tmp_path) == (
        f"{tmp_path}: 3 of 8 trials are kept; 2 go on (trial_00002 from step 8, trial_00006 from step 14); 3 begin"
    )


def test_of_many_trials_that_go_on_some_are_named(lay_out, tmp_path):
    for trial in range(9):
        begun(tmp_path, trial, [4])
    said = what_is_kept(lay_out(trials=9), tmp_path)
    assert "9 go on (trial_00000 from step 4, " in said
    assert said.endswith("trial_00007 from step 4, ...)")


def test_data_that_was_moved_is_the_same_data(lay_out, drawn_people, tmp_path):
    held = replace(lay_out(), data="/gone", software={"torch": "1.0"})
    shutil.copytree(drawn_people.place, tmp_path / "moved")
    moved = moved_data(held, tmp_path / "moved")
    assert moved == replace(held, data=str(tmp_path / "moved"), software=software())
    assert moved_data(moved, None) == moved
    with pytest.raises(UserError, match="/gone"):
        moved_data(held, None)


def test_data_that_was_exchanged_is_seen(lay_out, other_people):
    held = lay_out()
    moved = moved_data(held, other_people)
    assert moved.fingerprint != held.fingerprint
    assert "or add --allow-change data:" in refusal(moved, held)


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        GRID,
        SearchSpace(FIELDS, 4, Exploiting(("reward.alpha",), fraction=0.5)),
        SearchSpace(FIELDS, 4, RunAll()),
    ],
)
def test_a_search_is_read_as_it_was_written(lay_out, tmp_path, space):
    assert not has_search(tmp_path)
    search = lay_out(space)
    write_search(search, tmp_path)
    assert has_search(tmp_path)
    read = read_search(tmp_path)
    assert read == search
    assert read.digest == search.digest
    assert continued(search, read, tmp_path) == search
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


def test_the_name_of_a_search_depends_on_what_it_does_alone(lay_out, drawn_people, tmp_path):
    search = lay_out()
    shutil.copytree(drawn_people.place, tmp_path / "moved")
    assert lay_out().digest == search.digest
    assert replace(lay_out(data=tmp_path / "moved"), software={"torch": "1.0"}).digest == search.digest
    others = [lay_out(trials=5), lay_out(run__seed=1), lay_out(optim__joint_lr=5e-4), lay_out(GRID)]
    assert len({search.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), ("{", "Invalid JSON"), ('{"base": {}}', "data: Field required")]
)
def test_a_folder_without_a_readable_search_is_one_sentence(tmp_path, content, words):
    if content is not None:
        (tmp_path / "search.json").write_text(content)
    with pytest.raises(UserError, match=words) as refused:
        read_search(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path} holds no search to resume")
    assert "\n" not in str(refused.value)
