from __future__ import annotations

import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.evidence.arms import MEANINGS, RANDOM, TUNED, Tuned, arm_runs, overrides_of, stage_one, tuning_runs
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
