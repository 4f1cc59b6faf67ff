"""What training changes, and all of what a checkpoint holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer, RMSprop

from ray_advpose.config import Config
from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.nets.pose_net import make_pose_net
from ray_advpose.nets.synced_norm import sync_norms
from ray_advpose.training.history import EpochRecord
from ray_advpose.training.pretrain_step import SweepTargets
from ray_advpose.training.schedule import Stage
from ray_advpose.training.statistics import RunningEpoch


@dataclass
class TrainState:
    """Networks, optimisers, place in the schedule, history.

    Random draws need no state: they are functions of the seed and the place (`ray_advpose.counter`).
    Plateau, learning rates and best score are functions of the history.

    Attributes:
        config: The run's config.
        pose_net: D.
        asr_net: G_ASR; None with its arm off.
        aho_net: G_AHO; None with its arm off.
        optimizers: By network.
        step: Global steps done.
        history: Finished epochs.
        epoch: The epoch that is running.
        sweep_targets: What stage 2 has measured so far.
        lineage: Checkpoints of other runs that this one was started from, in order.
    """

    config: Config
    pose_net: BridgedPoseNet
    asr_net: AsrNet | None
    aho_net: AhoNet | None
    optimizers: dict[str, Optimizer]
    step: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    epoch: RunningEpoch = field(default_factory=RunningEpoch)
    sweep_targets: SweepTargets = field(default_factory=dict)
    lineage: list[str] = field(default_factory=list)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks there are, by name: ``pose``, and with their arms on ``asr`` and ``aho``."""
        named = {"pose": self.pose_net, "asr": self.asr_net, "aho": self.aho_net}
        return {name: net for name, net in named.items() if net is not None}

    @property
    def best_metric(self) -> float:
        """Highest validation score so far; minus infinity before the first."""
        return max((record.metric for record in self.history), default=float("-inf"))

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.pose_net.parameters()).device

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values; within an epoch called on every worker."""
        return {
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "step": self.step,
            "history": [asdict(record) for record in self.history],
            "epoch": self.epoch.state_dict(),
            "sweep_targets": _packed(self.sweep_targets),
            "lineage": list(self.lineage),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a saved state; the networks must have the same shapes and names."""
        assert saved["networks"].keys() == self.networks.keys(), "the arms were compared before"
        for name, net in self.networks.items():
            net.load_state_dict(saved["networks"][name])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, saved["optimizers"][name])
        self.step = saved["step"]
        self.history = [EpochRecord.from_dict(record) for record in saved["history"]]
        self.epoch = RunningEpoch.from_state_dict(saved["epoch"], self.device)
        # Into the same dictionary, since a running stage holds it too.
        self.sweep_targets.clear()
        self.sweep_targets.update(_unpacked(saved["sweep_targets"]))
        self.lineage = list(saved["lineage"])


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take over an optimiser's state, but for how it computes: that is the device's, which may be another."""
    ours = [{name: group[name] for name in _COMPUTING if name in group} for group in optimizer.param_groups]
    groups = [{**theirs, **own} for theirs, own in zip(saved["param_groups"], ours, strict=True)]
    optimizer.load_state_dict({**saved, "param_groups": groups})


_COMPUTING = ("capturable", "fused", "foreach")


def _packed(targets: SweepTargets) -> dict[str, torch.Tensor]:
    """Return two tensors, (n,) samples and (n, M + N) targets: thousands of small ones take long to save."""
    samples = sorted(targets)
    rows = torch.stack([targets[sample] for sample in samples]) if samples else torch.empty(0, 0)
    return {"samples": torch.tensor(samples, dtype=torch.int64), "targets": rows}


def _unpacked(packed: dict[str, torch.Tensor]) -> SweepTargets:
    return dict(zip(packed["samples"].tolist(), packed["targets"].cpu().unbind(), strict=True))


def make_state(config: Config, joints: int, device: torch.device) -> TrainState:
    """Build networks and optimisers; the initial weights are a function of ``run.seed``.

    Args:
        config: The run's config.
        joints: J, number of joints.
        device: Where the networks live.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        pose_net = make_pose_net(config.net, joints)
        asr_net = AsrNet(pose_net.bridge_shapes, config.net, config.asr) if config.asr.learned else None
        aho_net = AhoNet(pose_net.bridge_shapes, config.net, config.aho) if config.aho.learned else None
    state = TrainState(config, pose_net, asr_net, aho_net, optimizers={})
    for name, net in state.networks.items():
        # Measured 1.6 to 1.9 times faster than contiguous on CPUs; tensor cores want it as well.
        net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.run.sync_batchnorm:
            sync_norms(net)
        state.optimizers[name] = _optimizer(config, net)
    return state


def _optimizer(config: Config, net: nn.Module) -> Optimizer:
    # The rate is set at every epoch's start by `learning_rates`.
    capturable = config.run.cuda_graphs and next(net.parameters()).device.type == "cuda"
    if config.optim.optimizer == "adam":
        # Fused: a small net has hundreds of small tensors, and a loop over them took 7 % of a training step.
        return Adam(net.parameters(), lr=config.optim.pose_lr, fused=True, capturable=capturable)
    return RMSprop(net.parameters(), lr=config.optim.pose_lr, capturable=capturable)


def learning_rates(config: Config, stage: Stage, history: list[EpochRecord]) -> dict[str, float]:
    """Return the rate of every network that a stage trains (Section 5.1, "Training").

    D keeps its rate until the validation score of stage 3 has not risen for
    ``optim.plateau_patience_epochs`` epochs, or ``optim.drop_after_joint_epochs`` are over, then drops
    for good.
    """
    optim = config.optim
    if stage is Stage.POSE:
        return {"pose": optim.pose_lr}
    if stage is Stage.PRETRAIN:
        return {"asr": optim.pretrain_lr, "aho": optim.pretrain_lr}
    scores = [record.metric for record in history if record.stage == Stage.JOINT.label]
    patience, latest = optim.plateau_patience_epochs, optim.drop_after_joint_epochs
    drops = (patience is not None and _has_plateaued(scores, patience)) or (
        latest is not None and len(scores) >= latest
    )
    pose = optim.pose_lr_after_plateau if drops else optim.pose_lr
    return {"pose": pose, "asr": optim.joint_lr, "aho": optim.joint_lr}


def _has_plateaued(scores: list[float], patience: int) -> bool:
    best, since = float("-inf"), 0
    for score in scores:
        since = 0 if score > best else since + 1
        best = max(best, score)
        if since >= patience:
            return True
    return False
