"""What keeps arms on equal terms: checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray_advpose.config import Config
from ray_advpose.data.checks import check_config
from ray_advpose.data.shards import ShardSet
from ray_advpose.errors import UserError
from ray_advpose.evidence.arms import Tuned, overrides_of, varied_by
from ray_advpose.evidence.one_run import decides_stage_one
from ray_advpose.sections import OptimConfig

_OF_NETWORKS = ("reward.", "optim.joint_lr", "optim.pretrain_lr", "stages.pretrain_")
_OF_NO_TRAINING = ("preset", "run.")
_PATIENCE = "optim.plateau_patience_epochs"
_WHY_NO_PATIENCE = "arms would drop D's rate at different epochs; set optim.drop_after_joint_epochs"


def on_equal_terms(config: Config) -> Config:
    """Have D's learning rate drop after the same epoch of stage 3 in all arms: two thirds, if none was set.

    At a plateau it would drop where the scores of single epochs, which are noisy, happen to stand still, in one arm
    sooner than in another, and the difference would look like one of augmentation.

    Args:
        config: Common to all arms.

    Raises:
        UserError: A plateau's patience was set.
    """
    given = config.optim.plateau_patience_epochs
    if given not in (None, OptimConfig().plateau_patience_epochs):
        raise UserError(f"{_PATIENCE} = {given}: {_WHY_NO_PATIENCE}")
    after = config.optim.drop_after_joint_epochs or max(1, 2 * config.stages.joint_epochs // 3)
    return config.replaced({_PATIENCE: None, "optim.drop_after_joint_epochs": after})


def check_settings(arm: str, tuned: Tuned, source: str, base: Config, shards: ShardSet) -> None:
    """Check what an arm changes of the common config.

    Args:
        arm: Which one.
        tuned: The settings that it takes of it.
        source: Where they were given, for the message.
        base: The common config.
        shards: What it trains on.

    Raises:
        UserError: An unknown or impossible setting, or one that all arms have to share.
    """
    changed = overrides_of(arm, tuned)
    config = base.replaced(changed, source)
    try:
        check_config(config, shards)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    for name in changed:
        if decides_stage_one(name):
            raise UserError(f"{source}: {name} decides stage 1, which all runs of a seed share")
        if name == _PATIENCE:
            raise UserError(f"{source}: {name}: {_WHY_NO_PATIENCE}")
        if name == "stages.joint_epochs":
            raise UserError(f"{source}: {name} decides how many images D learns from, which is the same for all arms")


def check_variants(arms: Sequence[str], tuned: Tuned, base: Config) -> None:
    """Check that every variant stands beside its arm and trains otherwise than all others.

    Args:
        arms: What is compared.
        tuned: The settings that they may come to have.
        base: The common config.

    Raises:
        UserError: The arm of a variant is missing, or two arms would train alike: they would cost twice, and how
            little they differ would look like a result.
    """
    matters = {arm: _what_matters(base.replaced(overrides_of(arm, tuned))) for arm in arms}
    for arm in filter(varied_by, arms):
        varied = varied_by(arm)
        if varied not in arms:
            raise UserError(f"--arms {arm}: is compared with {varied!r}, which is missing")
        for other in arms:
            if other != arm and matters[other] == matters[arm]:
                raise UserError(f"--arms {arm}: trains as {other!r} does")


def _what_matters(config: Config) -> dict[str, Any]:
    """Return the fields that decide what comes of a run."""
    idle = list(_OF_NO_TRAINING)
    idle += [f"{name}." for name, part in (("asr", config.asr), ("aho", config.aho)) if not part.enabled]
    if not (config.asr.learned or config.aho.learned):
        idle += _OF_NETWORKS
    return {name: value for name, value in config.flat().items() if not name.startswith(tuple(idle))}
