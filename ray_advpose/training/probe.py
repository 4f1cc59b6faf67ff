"""How hard each bin and cell is for D, measured on fixed images, beside what the augmentation networks predict."""

from __future__ import annotations

import torch
from torch import Tensor

from ray_advpose.adversary.bins import rotation_bins, scale_bins
from ray_advpose.adversary.occlusion import hierarchical_masks
from ray_advpose.nets.augmenter import AhoNet, AsrNet
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import canonical
from ray_advpose.training.history import Probe
from ray_advpose.training.modes import evaluating
from ray_advpose.training.pose_step import Task

_IMAGES_PER_PASS = 64


@torch.no_grad()
def measure_probe(
    task: Task, batch: CanvasBatch, pose_net: BridgedPoseNet, asr_net: AsrNet | None, aho_net: AhoNet | None
) -> Probe:
    """Measure D's loss by scale bin, rotation bin and occlusion cell; see `Probe`.

    Costs M + N passes of D an image, and the second half of a pass for every cell. Draws nothing and
    changes nothing: it is a function of images and weights.

    Args:
        task: Config and data geometry; its bins and cells are measured with the arms off, too.
        batch: The images, on D's device.
        pose_net: D.
        asr_net: G_ASR, or None.
        aho_net: G_AHO, or None.
    """
    asr, aho = task.config.asr, task.config.aho
    parts = [batch.part(slice(start, start + _IMAGES_PER_PASS)) for start in range(0, len(batch), _IMAGES_PER_PASS)]
    with evaluating(pose_net):
        losses = [_losses(task, part, pose_net) for part in parts]
        predictions = [_predictions(task, part, pose_net, asr_net, aho_net) for part in parts]
    loss_scale, loss_rotation, loss_cells = (_mean(rows) for rows in zip(*losses, strict=True))
    predicted_scale, predicted_rotation, predicted_cells = (_mean(rows) for rows in zip(*predictions, strict=True))
    return Probe(
        images=len(batch),
        scales_log2=scale_bins(asr).centers.tolist(),
        rotations_deg=rotation_bins(asr).centers.tolist(),
        grid=[aho.grid_height, aho.grid_width],
        loss_scale=loss_scale,
        loss_rotation=loss_rotation,
        loss_cells=loss_cells,
        predicted_scale=predicted_scale,
        predicted_rotation=predicted_rotation,
        predicted_cells=predicted_cells,
    )


def _losses(task: Task, batch: CanvasBatch, pose_net: BridgedPoseNet) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, M), (B, N) and (B, h * w) losses."""
    config, device = task.config, batch.canvas.device
    still = canonical(len(batch), device)
    by_scale = [
        task.losses(pose_net(seen.image), seen)
        for log2 in scale_bins(config.asr).centers.tolist()
        for seen in [task.see(batch, still.rescaled(still.scale * 2**log2, still.rotation_deg))]
    ]
    by_rotation = [
        task.losses(pose_net(seen.image), seen)
        for degrees in rotation_bins(config.asr).centers.tolist()
        for seen in [task.see(batch, still.rescaled(still.scale, still.rotation_deg + degrees))]
    ]
    seen = task.see(batch, still)
    descent = pose_net.descend(seen.image)
    by_cell = [task.losses(pose_net.ascend(descent, masks), seen) for masks in _single_cells(task, batch, pose_net)]
    return torch.stack(by_scale, dim=1), torch.stack(by_rotation, dim=1), torch.stack(by_cell, dim=1)


def _single_cells(task: Task, batch: CanvasBatch, pose_net: BridgedPoseNet) -> list[tuple[Tensor, ...]]:
    """Return for each cell the masks that occlude it and no other, for all images."""
    aho, device = task.config.aho, batch.canvas.device
    sides = [side for _, side in pose_net.bridge_shapes]
    levels = len(sides) if aho.hierarchy == "independent" else 1
    cells = torch.eye(aho.grid_height * aho.grid_width, dtype=torch.bool, device=device)
    unshifted = torch.zeros(len(batch), 2, device=device)
    grid = (aho.grid_height, aho.grid_width)
    return [
        hierarchical_masks(cell.expand(levels, len(batch), -1), grid, sides, aho.hierarchy, unshifted)
        for cell in cells.unbind()
    ]


def _predictions(
    task: Task, batch: CanvasBatch, pose_net: BridgedPoseNet, asr_net: AsrNet | None, aho_net: AhoNet | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return P^s (B, M), P^r (B, N) and P^o (B, h * w); (B, 0) without the network that predicts it."""
    features = pose_net.descend(task.see(batch, canonical(len(batch), batch.canvas.device)).image).features
    scale = rotation = cells = torch.empty(len(batch), 0)
    if asr_net is not None:
        with evaluating(asr_net):
            scale, rotation = (each.exp() for each in asr_net(features))
    if aho_net is not None:
        with evaluating(aho_net):
            cells = aho_net(features).exp()
    return scale, rotation, cells


def _mean(parts: tuple[Tensor, ...]) -> list[float]:
    mean: list[float] = torch.cat(parts).double().mean(dim=0).tolist()
    return mean
