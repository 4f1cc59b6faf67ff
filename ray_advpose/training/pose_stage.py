"""Runs that agree on everything that decides stage 1 can share it: train it once, go on in many ways.

What stage 1 leaves behind is D, its optimiser and the history. The augmentation networks have not
been trained by then and are made anew from the seed, as a run of its own would have them. So a run
that takes over another's stage 1 ends exactly as if it had trained its own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ray_advpose.config import Config
from ray_advpose.errors import UserError
from ray_advpose.training.checkpoint import DataIdentity, check_data, read_config, read_state
from ray_advpose.training.schedule import Stage
from ray_advpose.training.state import EpochRecord, TrainState

# Every other field decides what D is after stage 1: a new one does until it is named here.
DECIDING_LATER = {
    "preset",
    "stages.pretrain_epochs",
    "stages.pretrain_images",
    "stages.joint_epochs",
    "optim.pose_lr_after_plateau",
    "optim.plateau_patience_epochs",
    "optim.pretrain_lr",
    "optim.joint_lr",
    "optim.adversarial_bn",
    "run.cpus_per_worker",
    "run.checkpoint_every_epochs",
    "run.checkpoint_every_s",
    "run.log_samples",
    "run.min_workers",
    "run.keep_last_checkpoints",
}
_SECTIONS_DECIDING_LATER = {"asr", "aho", "reward"}


def pose_stage_key(config: Config) -> str:
    """Return a name that two runs on the same data have in common when their stage 1 is the same."""
    deciding = {name: value for name, value in config.flat().items() if _decides(name)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def ends_pose_stage(record: EpochRecord, config: Config) -> bool:
    """Whether an epoch is the last of stage 1."""
    return record.stage == Stage.POSE.label and record.epoch == config.stages.pose_epochs


def load_pose_stage(folder: Path, state: TrainState, data: DataIdentity) -> None:
    """Put a fresh state at the end of another run's stage 1.

    Args:
        folder: A checkpoint from the end of stage 1.
        state: Fresh; its augmentation networks stay as they are.
        data: What this run is trained on.

    Raises:
        UserError: The checkpoint is not whole, lies elsewhere than at the end of stage 1, was trained
            on other data, or differs in a field that decides stage 1.
    """
    check_data(folder, data)
    saved, wanted = read_config(folder).flat(), state.config.flat()
    for name in filter(_decides, wanted):
        if saved[name] != wanted[name]:
            raise UserError(f"{folder} holds a stage 1 with {name} = {saved[name]}, this run's has {wanted[name]}")
    content = read_state(folder, state)
    history = [EpochRecord(**record) for record in content["history"]]
    if not history or not ends_pose_stage(history[-1], state.config):
        raise UserError(f"{folder} lies at step {content['step']}, which is not the end of stage 1")
    state.pose_net.load_state_dict(content["networks"]["pose"])
    state.optimizers["pose"].load_state_dict(content["optimizers"]["pose"])
    state.step = content["step"]
    state.history = history


def _decides(name: str) -> bool:
    return name not in DECIDING_LATER and name.partition(".")[0] not in _SECTIONS_DECIDING_LATER
