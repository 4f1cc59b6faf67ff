"""Stage 3: Algorithms 1 and 2, D and both augmentation networks together."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ray_advpose.adversary.bins import equally_likely, one_hot
from ray_advpose.adversary.reward import kl_divergence, reward_targets, verdicts
from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.training.adversarial import draw_asr, draw_occlusion, draw_reference_occlusion
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import (
    AdversarialDraws,
    Augmentation,
    StepDraws,
    adversarial_draws,
    canonical,
    random_augmentation,
)
from ray_advpose.training.inputs import entropy
from ray_advpose.training.modes import evaluating, untracked
from ray_advpose.training.pose_step import StepResult, StepStatistics, Task
from ray_advpose.training.workers import part_of_mean, share_of_all


def share_sizes(batch_size: int, asr: bool, aho: bool) -> tuple[int, int, int]:
    """Split a global batch into X1 (random), X2 (ASR) and X3 (AHO) of Algorithm 1, line 1.

    The shares are equal, the remainder goes to X1, and an arm that is off has none. Slots hold the
    samples in random order already, so consecutive slots are a random division.
    """
    share = batch_size // (1 + asr + aho)
    asr_size, aho_size = share * asr, share * aho
    return batch_size - asr_size - aho_size, asr_size, aho_size


@dataclass(frozen=True)
class _ShareResult:
    """D's per-image losses, G's loss per image (None for X1), and the statistics of one share."""

    pose_losses: Tensor
    augmenter_losses: Tensor | None
    statistics: StepStatistics


class JointStep(nn.Module):
    """One mini-batch of Algorithm 1.

    The returned loss is D's mean over all images plus each G's mean over its own share, of which each
    worker has its part. The gradients do not mix: bridge features reach G detached, and G's output
    reaches D only through draws, which carry none.
    """

    def __init__(self, task: Task, pose_net: BridgedPoseNet, asr_net: AsrNet | None, aho_net: AhoNet | None) -> None:
        super().__init__()
        self.task = task
        self.pose_net = pose_net
        self.asr_net = asr_net
        self.aho_net = aho_net
        self._sides = [side for _, side in pose_net.bridge_shapes]
        self._masks = len(self._sides) if task.config.aho.hierarchy == "independent" else 1

    def draws(self, batch: CanvasBatch) -> StepDraws:
        """Return all that is random in a step for a worker's part of the global batch, on the CPU."""
        config, slots = self.task.config, batch.slot
        return StepDraws(
            random_augmentation(config, batch.step).part(slots),
            adversarial_draws(config, batch.step, self._masks).part(slots),
        )

    def forward(self, batch: CanvasBatch, draws: StepDraws | None = None) -> StepResult:
        """Return the loss of D and G on a worker's part of the global batch, and its statistics.

        Args:
            batch: The part, on the networks' device.
            draws: What `draws` returned, there too; drawn here if not given.
        """
        config, slots = self.task.config, batch.slot
        step_draws = draws or self.draws(batch).to(batch.canvas.device)
        random, adversarial = step_draws.random, step_draws.adversarial
        assert adversarial is not None, "drawn for this stage"
        sizes = share_sizes(config.run.global_batch_size, config.asr.enabled, config.aho.enabled)
        edges = torch.searchsorted(slots, torch.tensor([sizes[0], sizes[0] + sizes[1]])).tolist()
        first, second, third = slice(0, edges[0]), slice(edges[0], edges[1]), slice(edges[1], len(batch))

        results = [(sizes[0], self._random_share(batch.part(first), random.part(first)))]
        if config.asr.enabled:
            asr = self._asr_share(batch.part(second), random.part(second), adversarial.part(second))
            results.append((sizes[1], asr))
        if config.aho.enabled:
            aho = self._aho_share(batch.part(third), random.part(third), adversarial.part(third))
            results.append((sizes[2], aho))

        pose_losses = torch.cat([result.pose_losses for _, result in results])
        loss = part_of_mean(pose_losses, config.run.global_batch_size)
        statistics: dict[str, tuple[Tensor, int | Tensor]] = {}
        for size, result in results:
            if result.augmenter_losses is not None:
                loss = loss + part_of_mean(result.augmenter_losses, size)
            statistics.update(result.statistics)
        return loss, statistics

    def _random_share(self, batch: CanvasBatch, draw: Augmentation) -> _ShareResult:
        """X1: D learns from the randomly augmented image (Algorithm 1, line 2)."""
        seen = self.task.see(batch, draw)
        losses = self.task.losses(self.pose_net(seen.image), seen)
        return _ShareResult(losses, None, {"loss_random": (losses.detach().sum(), len(batch))})

    def _asr_share(self, batch: CanvasBatch, reference: Augmentation, draws: AdversarialDraws) -> _ShareResult:
        """X2: Algorithm 2 with scaling and rotating; the two augmentations share flip and colour."""
        if self.asr_net is None:
            return self._even_asr_share(batch, reference, draws)
        task, device = self.task, batch.canvas.device
        # Eval mode, as in stage 2: an image's features do not depend on the images beside it.
        with torch.no_grad(), evaluating(self.pose_net):
            features = self.pose_net.descend(task.see(batch, canonical(len(batch), device)).image).features
        log_scale, log_rotation = self.asr_net(features)
        with torch.no_grad():
            drawn = draw_asr(log_scale, log_rotation, reference, draws, task.config.asr)
        seen = task.see(batch, drawn.augmentation)
        with self._adversarial_norms():
            heatmaps = self.pose_net(seen.image)
        losses = task.losses(heatmaps, seen)
        with torch.no_grad(), untracked(self.pose_net):
            reference_seen = task.see(batch, reference)
            reference_heatmaps = self.pose_net(reference_seen.image)
            reference_losses = task.losses(reference_heatmaps, reference_seen)
        verdict = verdicts(
            task.difficulty(losses, heatmaps, seen),
            task.difficulty(reference_losses, reference_heatmaps, reference_seen),
        )
        share = self._rewarded_share(verdict)
        divergence = torch.zeros_like(losses)
        for log_probability, index in ((log_scale, drawn.scale_index), (log_rotation, drawn.rotation_index)):
            chosen = one_hot(index, log_probability.shape[1])
            target = reward_targets(log_probability.exp(), chosen, verdict, task.config.reward, share)
            divergence = divergence + kl_divergence(target, log_probability)
        entropies = {"entropy_scale": log_scale, "entropy_rotation": log_rotation}
        return _ShareResult(losses, divergence, _statistics("asr", losses, reference_losses, verdict, entropies))

    def _aho_share(self, batch: CanvasBatch, random: Augmentation, draws: AdversarialDraws) -> _ShareResult:
        """X3: Algorithm 2 with occluding; both passes share everything before the mask."""
        if self.aho_net is None:
            return self._even_aho_share(batch, random, draws)
        task, config = self.task, self.task.config
        seen = task.see(batch, random)
        descent = self.pose_net.descend(seen.image)
        log_cells = self.aho_net(tuple(feature.detach() for feature in descent.features))
        drawn = draw_occlusion(log_cells.detach(), draws, config.aho, self._sides)
        with self._adversarial_norms():
            heatmaps = self.pose_net.ascend(descent, drawn.masks)
        losses = task.losses(heatmaps, seen)
        with torch.no_grad(), untracked(self.pose_net):
            reference_masks = draw_reference_occlusion(drawn, draws, config.aho, self._sides)
            reference_heatmaps = self.pose_net.ascend(descent, reference_masks)
            reference_losses = task.losses(reference_heatmaps, seen)
        verdict = verdicts(
            task.difficulty(losses, heatmaps, seen), task.difficulty(reference_losses, reference_heatmaps, seen)
        )
        share = self._rewarded_share(verdict)
        targets = [reward_targets(log_cells.exp(), level, verdict, config.reward, share) for level in drawn.cells]
        # Masks drawn independently share one prediction and one verdict: each has a target, all weigh alike.
        divergence = torch.stack([kl_divergence(target, log_cells) for target in targets]).mean(dim=0)
        return _ShareResult(
            losses, divergence, _statistics("aho", losses, reference_losses, verdict, {"entropy_cells": log_cells})
        )

    def _even_asr_share(self, batch: CanvasBatch, reference: Augmentation, draws: AdversarialDraws) -> _ShareResult:
        """X2 of a control: bins are equally likely, so there is nothing to compare or to reward."""
        asr = self.task.config.asr
        device = batch.canvas.device
        scale = equally_likely(len(batch), asr.scale_bins, device)
        rotation = equally_likely(len(batch), asr.rotation_bins, device)
        seen = self.task.see(batch, draw_asr(scale, rotation, reference, draws, asr).augmentation)
        with self._adversarial_norms():
            losses = self.task.losses(self.pose_net(seen.image), seen)
        return _ShareResult(losses, None, {"loss_asr": (losses.detach().sum(), len(batch))})

    def _even_aho_share(self, batch: CanvasBatch, random: Augmentation, draws: AdversarialDraws) -> _ShareResult:
        """X3 of a control: cells are equally likely."""
        aho = self.task.config.aho
        seen = self.task.see(batch, random)
        even = equally_likely(len(batch), aho.grid_width * aho.grid_height, batch.canvas.device)
        masks = draw_occlusion(even, draws, aho, self._sides).masks
        descent = self.pose_net.descend(seen.image)
        with self._adversarial_norms():
            losses = self.task.losses(self.pose_net.ascend(descent, masks), seen)
        return _ShareResult(losses, None, {"loss_aho": (losses.detach().sum(), len(batch))})

    def _rewarded_share(self, verdict: Tensor) -> Tensor | None:
        """Return what `reward_targets` weighs its rates by, of all workers; None if by nothing."""
        if self.task.config.reward.baseline == "none":
            return None
        return share_of_all(verdict > 0, verdict != 0)

    def _adversarial_norms(self) -> AbstractContextManager[None]:
        """Whether passes that D learns from under adversarial augmentation move its running statistics."""
        if self.task.config.optim.adversarial_bn == "separate":
            return untracked(self.pose_net)
        return nullcontext()


def _statistics(
    arm: str, losses: Tensor, reference_losses: Tensor, verdict: Tensor, log_probabilities: dict[str, Tensor]
) -> StepStatistics:
    """Sum up what an adversarial share came to; the rewarded share is of the images that could be compared."""
    count = len(losses)
    return {
        f"loss_{arm}": (losses.detach().sum(), count),
        f"loss_{arm}_reference": (reference_losses.sum(), count),
        f"rewarded_{arm}": ((verdict > 0).sum(), (verdict != 0).sum()),
        **{name: (entropy(each.detach()).sum(), count) for name, each in log_probabilities.items()},
    }
