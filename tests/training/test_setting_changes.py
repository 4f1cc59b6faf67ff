from __future__ import annotations

import pytest

from ray_advpose.errors import UserError
from ray_advpose.training.schedule import Stage, make_schedule
from ray_advpose.training.setting_changes import (
    SettingChange,
    changes_text,
    config_in_epoch,
    joint_epoch_of,
    read_changes,
)

CHANGES = [SettingChange(1, {"reward.alpha": 0.4}), SettingChange(3, {"reward.alpha": 0.6, "optim.joint_lr": 1e-4})]


def test_settings_are_those_of_the_last_change(tiny_config):
    alphas = [config_in_epoch(tiny_config, CHANGES, epoch).reward.alpha for epoch in range(-1, 5)]
    first = tiny_config.reward.alpha
    assert alphas == [first, first, 0.4, 0.4, 0.6, 0.6]
    assert config_in_epoch(tiny_config, CHANGES, 2).optim.joint_lr == tiny_config.optim.joint_lr


def test_steps_lie_in_epochs_of_stage_three(tiny_config):
    schedule = make_schedule(tiny_config, 45)
    joint = next(span for span in schedule.spans if span.stage is Stage.JOINT)
    epochs = [joint_epoch_of(schedule, step) for step in range(schedule.total_steps)]
    assert epochs == sorted(epochs)
    assert set(epochs) == {-1, 0, 1}
    assert epochs.count(-1) == joint.first_step


def test_a_file_is_read_as_it_was_written(tiny_config, tmp_path):
    path = tmp_path / "schedule.yaml"
    path.write_text(changes_text(tiny_config, CHANGES))
    assert read_changes(path) == (tiny_config, CHANGES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("- {after_joint_epochs: 0, set: {reward.alpha: 0.1}}", ["changes[0]", "after_joint_epochs = 0", "from 1 on"]),
        ("- {after_joint_epochs: 1, set: {}}", ["changes[0]", "set = {}"]),
        ("- {after_joint_epochs: 1, set: {reward.alpha: 2}}", ["reward.alpha = 2"]),
        ("- {after_joint_epochs: 1, set: {reward.alhpa: 0.2}}", ["reward.alhpa", "reward.alpha"]),
        ("- {after_joint_epochs: 1, set: {net.stacks: 2}}", ["net.stacks", "cannot change"]),
        ("- {after_joint_epochs: 1, set: {optim.optimizer: adam}}", ["optim.optimizer", "cannot change"]),
        ("- {after_joint_epochs: 1}", ["changes[0]", "expected after_joint_epochs and set"]),
        ("  7", ["changes = 7"]),
    ],
)
def test_a_bad_file_is_refused_by_place_field_and_value(tiny_config, tmp_path, change, words):
    path = tmp_path / "schedule.yaml"
    path.write_text(changes_text(tiny_config, []).replace("changes: []", f"changes:\n{change}"))
    with pytest.raises(UserError) as refused:
        read_changes(path)
    assert all(word in str(refused.value) for word in [str(path), *words])


def test_a_file_that_is_not_there_or_no_schedule_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read schedule"):
        read_changes(tmp_path / "nowhere.yaml")
    (tmp_path / "other.yaml").write_text("reward: {alpha: 0.3}")
    with pytest.raises(UserError, match="expected a mapping with config and changes"):
        read_changes(tmp_path / "other.yaml")
