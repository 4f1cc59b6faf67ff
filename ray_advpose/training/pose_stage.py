"""Runs that agree on everything that decides stage 1 can share it: train it once, go on in many ways.

What stage 1 leaves behind is D, its optimiser and the history. The augmentation networks have not
been trained by then and are made anew from the seed, as a run of its own would have them. So a run
that takes over another's stage 1 ends exactly as if it had trained its own.
"""

from __future__ import annotations

import hashlib
import json

from ray_advpose.config import Config
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.schedule import Stage

# Every other field decides what D is after stage 1: a new one does until it is named here.
DECIDING_LATER = {
    "preset",
    "stages.pretrain_epochs",
    "stages.pretrain_images",
    "stages.joint_epochs",
    "optim.pose_lr_after_plateau",
    "optim.plateau_patience_epochs",
    "optim.drop_after_joint_epochs",
    "optim.pretrain_lr",
    "optim.joint_lr",
    "optim.adversarial_bn",
    "run.cpus_per_worker",
    "run.checkpoint_every_epochs",
    "run.checkpoint_every_s",
    "run.probe_images",
    "run.log_samples",
    "run.min_workers",
    "run.keep_last_checkpoints",
}
_SECTIONS_DECIDING_LATER = {"asr", "aho", "reward"}


def pose_stage_key(config: Config) -> str:
    """Return a name that two runs on the same data have in common when their stage 1 is the same."""
    deciding = {name: value for name, value in config.flat().items() if decides_pose_stage(name)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def ends_pose_stage(record: EpochRecord, config: Config) -> bool:
    """Whether an epoch is the last of stage 1."""
    return record.stage == Stage.POSE.label and record.epoch == config.stages.pose_epochs


def decides_pose_stage(name: str) -> bool:
    """Whether a config field decides what D is after stage 1."""
    return name not in DECIDING_LATER and name.partition(".")[0] not in _SECTIONS_DECIDING_LATER
