"""Stage 2: the augmentation networks learn what is hard for a frozen D (Sections 4.1 and 4.2)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ray_advpose.adversary.bins import rotation_bins, scale_bins, sweep_targets
from ray_advpose.adversary.reward import kl_divergence
from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import Augmentation, canonical, sweep_normals
from ray_advpose.training.inputs import entropy
from ray_advpose.training.modes import evaluating
from ray_advpose.training.pose_step import StepResult, Task
from ray_advpose.training.workers import part_of_mean

SweepTargets = dict[int, Tensor]
"""Sample index -> (M + N,) P^s and P^r, one after the other, on the CPU."""

_SWEEP_IMAGES_PER_PASS = {False: 64, True: 512}
"""Without and with a GPU, which wants more at a time."""


class PretrainStep(nn.Module):
    """G_ASR learns each image's measured loss per bin, G_AHO where the joints are.

    D is frozen, so an image's sweep always gives the same target: it is done the first time the
    image comes and remembered.
    """

    def __init__(
        self,
        task: Task,
        pose_net: BridgedPoseNet,
        asr_net: AsrNet | None,
        aho_net: AhoNet | None,
        cell_target: Tensor,
        sweep_targets_by_sample: SweepTargets,
    ) -> None:
        """Take the networks and the stage's constants.

        Args:
            task: Config and data geometry.
            pose_net: D, used without gradient and in eval mode.
            asr_net: G_ASR, or None with the arm off.
            aho_net: G_AHO, or None with the arm off.
            cell_target: (h * w,) P^o, the normalised joint votes of the whole training set.
            sweep_targets_by_sample: Targets known already; filled as images come.
        """
        super().__init__()
        self.task = task
        # Kept out of the module's own parameters: D is not trained here.
        self._frozen = (pose_net,)
        self.asr_net = asr_net
        self.aho_net = aho_net
        self._cell_target = cell_target
        self._sweep_targets = sweep_targets_by_sample

    def forward(self, batch: CanvasBatch) -> StepResult:
        """Return a worker's part of the mean of Eq. 3 plus Eq. 4 over the global batch, and its statistics."""
        (pose_net,) = self._frozen
        device, images = batch.canvas.device, self.task.config.run.global_batch_size
        with torch.no_grad(), evaluating(pose_net):
            features = pose_net.descend(self.task.see(batch, canonical(len(batch), device)).image).features
            targets = self._targets(pose_net, batch) if self.asr_net is not None else None
        loss = torch.zeros((), device=device)
        statistics: dict[str, tuple[Tensor, int]] = {}
        if self.asr_net is not None and targets is not None:
            log_scale, log_rotation = self.asr_net(features)
            scale_target, rotation_target = targets.split([log_scale.shape[1], log_rotation.shape[1]], dim=1)
            divergence = kl_divergence(scale_target, log_scale) + kl_divergence(rotation_target, log_rotation)
            loss = loss + part_of_mean(divergence, images)
            statistics["kl_asr"] = (divergence.sum().detach(), len(batch))
            statistics["entropy_scale"] = (entropy(log_scale.detach()).sum(), len(batch))
            statistics["entropy_rotation"] = (entropy(log_rotation.detach()).sum(), len(batch))
        if self.aho_net is not None:
            log_cells = self.aho_net(features)
            divergence = kl_divergence(self._cell_target.to(device).expand_as(log_cells), log_cells)
            loss = loss + part_of_mean(divergence, images)
            statistics["kl_aho"] = (divergence.sum().detach(), len(batch))
            statistics["entropy_cells"] = (entropy(log_cells.detach()).sum(), len(batch))
        return loss, statistics

    def _targets(self, pose_net: BridgedPoseNet, batch: CanvasBatch) -> Tensor:
        samples = batch.sample.tolist()
        missing = [place for place, sample in enumerate(samples) if sample not in self._sweep_targets]
        found: SweepTargets = {}
        if missing:
            swept = self._sweep(pose_net, batch, missing).cpu()
            found = {samples[place]: target for place, target in zip(missing, swept, strict=True)}
        self._sweep_targets.update(_shared(found))
        return torch.stack([self._sweep_targets[sample] for sample in samples]).to(batch.canvas.device)

    def _sweep(self, pose_net: BridgedPoseNet, batch: CanvasBatch, places: list[int]) -> Tensor:
        """Forward D on one draw from each of the m x n bin pairs of each image: (len(places), M + N)."""
        config, device = self.task.config, batch.canvas.device
        scales, rotations = scale_bins(config.asr, device), rotation_bins(config.asr, device)
        m, n = len(scales.centers), len(rotations.centers)
        pairs = m * n
        normals = torch.stack([sweep_normals(config, int(batch.sample[place])) for place in places])
        normals = normals.view(len(places) * pairs, 2).to(device)
        scale_index = torch.arange(m, device=device).repeat_interleave(n).repeat(len(places))
        rotation_index = torch.arange(n, device=device).repeat(m * len(places))
        still = canonical(len(places) * pairs, device)
        draw = still.rescaled(
            2 ** scales.draw(scale_index, normals[:, 0]), rotations.draw(rotation_index, normals[:, 1])
        )
        image = torch.tensor(places).repeat_interleave(pairs)
        size = _SWEEP_IMAGES_PER_PASS[device.type == "cuda"]
        parts = [slice(start, start + size) for start in range(0, len(image), size)]
        losses = [self._losses_of(pose_net, batch, image[part], draw.part(part)) for part in parts]
        by_scale, by_rotation = sweep_targets(torch.cat(losses).view(len(places), m, n))
        return torch.cat([by_scale, by_rotation], dim=1)

    def _losses_of(self, pose_net: BridgedPoseNet, batch: CanvasBatch, image: Tensor, draw: Augmentation) -> Tensor:
        seen = self.task.see(batch.part(image), draw)
        return self.task.losses(pose_net(seen.image), seen)


def _shared(found: SweepTargets) -> SweepTargets:
    """Return what all workers found, so that each image is swept once whoever meets it next."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return found
    gathered: list[SweepTargets] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, found)
    return {sample: target for part in gathered for sample, target in part.items()}
