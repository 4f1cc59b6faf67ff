from __future__ import annotations

import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.errors import UserError
from ray_advpose.evidence.arms import (
    MEANINGS,
    RANDOM,
    TUNED,
    Tuned,
    arm_runs,
    meaning_of,
    overrides_of,
    parse_arms,
    stage_one,
    tuning_runs,
    varied_by,
)
from ray_advpose.training.schedule import Stage, make_schedule
from ray_advpose.training.state import make_state

FOUND = Tuned(joint={"reward.alpha": 0.9, "asr.max_rotation_deg": 30.0}, random={"random.scale_times": 0.5})


def test_every_arm_gives_the_pose_net_as_many_images(base: Config):
    def images(config: Config) -> int:
        spans = make_schedule(config, 45).spans
        return sum(span.steps for span in spans if span.stage is not Stage.PRETRAIN)

    runs = arm_runs(base, list(MEANINGS), [0, 1], 45, FOUND)
    assert len(runs) == 12
    assert len({run.name for run in runs}) == 12
    assert len({images(run.config) for run in runs}) == 1


def test_arms_of_a_seed_share_a_stage_one_of_random_augmentation(base: Config):
    for run in arm_runs(base, list(MEANINGS), [3], 45, FOUND):
        assert run.after == stage_one(base, 3, 45).name
        assert run.config.run.seed == 3
    shared = stage_one(base, 3, 45)
    assert not shared.config.adversarial
    assert shared.config.random == base.random


@pytest.mark.parametrize(
    ("arm", "networks"),
    [
        (RANDOM, {"pose"}),
        (TUNED, {"pose"}),
        ("uniform", {"pose"}),
        ("asr", {"pose", "asr"}),
        ("aho", {"pose", "aho"}),
        ("asr+aho", {"pose", "asr", "aho"}),
    ],
)
def test_controls_have_no_network(base: Config, arm: str, networks: set[str]):
    config = base.replaced(overrides_of(arm, FOUND))
    assert make_state(config, 14, torch.device("meta")).networks.keys() == networks


def test_what_was_tuned_goes_to_the_arms_it_is_for(base: Config):
    configs = {arm: base.replaced(overrides_of(arm, FOUND)) for arm in MEANINGS}
    for arm, config in configs.items():
        assert config.reward.alpha == (base.reward.alpha if arm in (RANDOM, TUNED) else 0.9), arm
        assert config.random.scale_times == (0.5 if arm == TUNED else 1.0), arm
    uniform = configs["uniform"].replaced({"asr.policy": "learned", "aho.policy": "learned"})
    assert uniform == configs["asr+aho"]


def test_both_kinds_are_tuned_equally_often_on_a_seed_of_their_own(base: Config):
    drawn = {"asr+aho": [{"reward.alpha": 0.1}, {"reward.alpha": 0.2}], RANDOM: [{"random.rotation_times": 1.5}, {}]}
    runs = tuning_runs(base, 1000, 45, drawn)
    assert [run.arm for run in runs] == ["asr+aho", "asr+aho", RANDOM, RANDOM]
    assert runs[1].config.reward.alpha == 0.2
    assert runs[2].config.random.rotation_times == 1.5
    assert {run.config.run.seed for run in runs} == {1000}


def test_a_variant_is_its_arm_but_for_its_settings(base: Config):
    variant = "asr+aho:reward.reward_by=pckh:reward.alpha=0.3"
    config = base.replaced(overrides_of(variant, FOUND))
    assert (config.reward.reward_by, config.reward.alpha) == ("pckh", 0.3)
    as_it_is = base.replaced(overrides_of("asr+aho", FOUND))
    assert config.replaced({"reward.reward_by": "loss", "reward.alpha": 0.9}) == as_it_is
    assert (varied_by(variant), varied_by("asr+aho")) == ("asr+aho", None)
    assert meaning_of(variant) == "as asr+aho, with reward.reward_by=pckh and reward.alpha=0.3"
    names = [run.name for run in arm_runs(base, ["asr+aho", variant, f"{variant}1"], [0], 45, FOUND)]
    assert len(set(names)) == 3
    assert not any(mark in name for name in names for mark in ":/ ")


def test_arms_come_in_one_order_with_their_variants_behind_them():
    wanted = parse_arms("asr+aho: aho.max_cells=1 , uniform:asr.enabled=false,asr+aho,random,asr+aho:aho.max_cells=1")
    assert wanted == ["random", "uniform:asr.enabled=false", "asr+aho", "asr+aho:aho.max_cells=1"]
    with pytest.raises(UserError, match=r"unknown arm 'asr\+ahoo' \(did you mean 'asr\+aho'"):
        parse_arms("random,asr+ahoo:aho.max_cells=1")
    with pytest.raises(UserError, match=r"--arms aho:aho\.max_cells 'aho\.max_cells': expected FIELD=VALUE"):
        parse_arms("aho:aho.max_cells")


def test_no_two_arms_share_a_folder(base: Config):
    arms = parse_arms("asr,asr:asr.max_rotation_deg=1e+1,asr:asr.max_rotation_deg=1e-1,asr+aho,aho:aho.max_cells=1")
    names = [run.name for run in arm_runs(base, arms, [0, 1], 45, FOUND)]
    assert len(set(names)) == len(names) == 10
