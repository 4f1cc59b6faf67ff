"""Stage 1: D alone on randomly augmented images; and what all steps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ray_advpose.config import Config
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.pose.heatmap import decode
from ray_advpose.pose.metrics import fraction_correct
from ray_advpose.pose.skeleton import Skeleton
from ray_advpose.training.batch import CanvasBatch, CanvasGeometry
from ray_advpose.training.draws import Augmentation, StepDraws, random_augmentation
from ray_advpose.training.inputs import PoseInput, augmented, person_losses
from ray_advpose.training.workers import part_of_mean

StepStatistics = Mapping[str, tuple[Tensor, int | Tensor]]
"""For each name the sum over images, as a 0-dim tensor, and the number of images."""

StepResult = tuple[Tensor, StepStatistics]


@dataclass(frozen=True)
class Task:
    """What every step needs to know of the data and the config.

    Attributes:
        config: The run's config.
        geometry: Canvas size.
        skeleton: Joint order.
        pck_threshold: Fraction of the normaliser within which a joint counts as found.
    """

    config: Config
    geometry: CanvasGeometry
    skeleton: Skeleton
    pck_threshold: float

    def see(self, batch: CanvasBatch, draw: Augmentation) -> PoseInput:
        """Warp a batch by a draw, on the batch's device."""
        return augmented(batch, draw, self.geometry, joints_on(self.skeleton, batch.canvas.device).mirror, self.config)

    def losses(self, heatmaps: Tensor, seen: PoseInput) -> Tensor:
        """Return (B,) losses of predictions (B, S, J, H, W)."""
        return person_losses(heatmaps, seen, self.config.loss.foreground_weight)

    def difficulty(self, losses: Tensor, heatmaps: Tensor, seen: PoseInput) -> Tensor:
        """Return what adversary and reference are compared by: (B,), higher is harder.

        The loss, or with ``reward_by: pckh`` the share of scored joints that are not found, which is
        what the authors' release compares. NaN, nothing to compare, for a person without a joint
        inside the input, or with ``pckh`` without a normaliser.
        """
        if self.config.reward.reward_by == "loss":
            return torch.where(seen.counted.any(dim=1), losses.detach(), torch.nan)
        joints_hm = decode(heatmaps[:, -1].detach(), self.config.loss.decoder)
        joints_in = joints_hm * (self.config.net.input_px / self.config.net.heatmap_px)
        counted = seen.counted & joints_on(self.skeleton, seen.counted.device).scored
        return 1 - fraction_correct(joints_in, seen.joints_in, counted, seen.normalizer_in, self.pck_threshold)


class JointTensors(NamedTuple):
    """A skeleton's partners and scored joints as tensors: (J,) int64 and (J,) bool."""

    mirror: Tensor
    scored: Tensor


@cache
def joints_on(skeleton: Skeleton, device: torch.device) -> JointTensors:
    """Return a skeleton's tensors on a device, copied there once."""
    return JointTensors(torch.from_numpy(skeleton.mirror).to(device), torch.from_numpy(skeleton.scored).to(device))


class PoseStep(nn.Module):
    """D learns from random augmentation."""

    def __init__(self, task: Task, pose_net: BridgedPoseNet) -> None:
        super().__init__()
        self.task = task
        self.pose_net = pose_net

    def draws(self, batch: CanvasBatch) -> StepDraws:
        """Return all that is random in a step for a worker's part of the global batch, on the CPU."""
        return StepDraws(random_augmentation(self.task.config, batch.step).part(batch.slot))

    def forward(self, batch: CanvasBatch, draws: StepDraws | None = None) -> StepResult:
        """Return a worker's part of the mean loss of the global batch, and its statistics.

        Args:
            batch: The part, on the networks' device.
            draws: What `draws` returned, there too; drawn here if not given.
        """
        draws = draws or self.draws(batch).to(batch.canvas.device)
        seen = self.task.see(batch, draws.random)
        losses = self.task.losses(self.pose_net(seen.image), seen)
        loss = part_of_mean(losses, self.task.config.run.global_batch_size)
        return loss, {"loss_random": (losses.sum().detach(), len(batch))}
