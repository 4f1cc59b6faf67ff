"""Settings that change during stage 3: the path a population's best network has come, as a file.

::

    config: {preset: quick, ...}          # the whole config that training begins with
    changes:
    - after_joint_epochs: 2               # from the third epoch of stage 3 on
      set: {reward.alpha: 0.31, asr.max_rotation_deg: 48.0}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ray_advpose.config import Config, config_from_dict
from ray_advpose.errors import UserError
from ray_advpose.training.schedule import Schedule, Stage


@dataclass(frozen=True)
class SettingChange:
    """Fields that are something else from some moment on.

    Attributes:
        after_joint_epochs: How many epochs of stage 3 are trained before.
        overrides: Values by dotted field.
    """

    after_joint_epochs: int
    overrides: Mapping[str, Any]


def config_in_epoch(config: Config, changes: Sequence[SettingChange], joint_epoch: int) -> Config:
    """Return the config of one epoch of stage 3.

    Args:
        config: What training begins with.
        changes: By rising moment.
        joint_epoch: The epoch within stage 3, from 0; anything below is before stage 3.
    """
    for change in changes:
        if change.after_joint_epochs <= joint_epoch:
            config = config.replaced(change.overrides, f"change after {change.after_joint_epochs} joint epochs")
    return config


def joint_epoch_of(schedule: Schedule, step: int) -> int:
    """Return the epoch of stage 3 that a global step lies in, from 0; -1 before stage 3."""
    position = schedule.position(step)
    return position.epoch if position.stage is Stage.JOINT else -1


def changes_text(config: Config, changes: Sequence[SettingChange]) -> str:
    """Return the file's content."""
    listed = [{"after_joint_epochs": change.after_joint_epochs, "set": dict(change.overrides)} for change in changes]
    return str(yaml.safe_dump({"config": config.model_dump(mode="json"), "changes": listed}, sort_keys=False))


def read_changes(path: Path) -> tuple[Config, list[SettingChange]]:
    """Read a file of changes.

    Raises:
        UserError: It cannot be read, or a field or value in it is not valid.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read schedule {path}: {error}") from None
    if not isinstance(tree, dict) or set(tree) != {"config", "changes"}:
        raise UserError(f"{path}: expected a mapping with config and changes")
    config = config_from_dict(tree["config"], str(path))
    return config, checked_changes(config, tree["changes"], str(path))


def checked_changes(config: Config, listed: Any, source: str) -> list[SettingChange]:
    """Turn a list of ``after_joint_epochs`` and ``set`` into changes; `UserError` if one is not valid."""
    if not isinstance(listed, list):
        raise UserError(f"{source}: changes = {listed!r}: expected a list")
    changes: list[SettingChange] = []
    for place, entry in enumerate(listed):
        name = f"{source}: changes[{place}]"
        if not isinstance(entry, dict) or set(entry) != {"after_joint_epochs", "set"}:
            raise UserError(f"{name}: expected after_joint_epochs and set")
        after, overrides = entry["after_joint_epochs"], entry["set"]
        earliest = changes[-1].after_joint_epochs + 1 if changes else 1
        if not isinstance(after, int) or after < earliest:
            raise UserError(f"{name}: after_joint_epochs = {after!r}: expected a whole number from {earliest} on")
        if not isinstance(overrides, dict) or not overrides:
            raise UserError(f"{name}: set = {overrides!r}: expected fields and values")
        for field in overrides:
            if (
                field.startswith(("run.", "stages.", "net."))
                or field.endswith((".enabled", ".policy"))
                or field == "optim.optimizer"
            ):
                raise UserError(f"{name}: {field} cannot change during a run")
        config = config.replaced(overrides, name)
        changes.append(SettingChange(after, overrides))
    return changes
