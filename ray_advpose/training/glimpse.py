"""A few images as the networks see them in a step: randomly and adversarially augmented, and occluded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ray_advpose.training.adversarial import draw_asr, draw_occlusion
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import adversarial_draws, canonical, random_augmentation
from ray_advpose.training.inputs import PoseInput
from ray_advpose.training.modes import evaluating
from ray_advpose.training.pose_step import Task
from ray_advpose.training.state import TrainState


@dataclass(frozen=True)
class Glimpse:
    """The same B persons under the augmentations of one step.

    Attributes:
        random: Under tau_r, as in X1.
        adversarial: Scaled and rotated by what G_ASR predicts, as in X2; None without it.
        visible: (B, 1, S, S) factor that the finest features are multiplied by where G_AHO occludes
            ``random``, at the input's size, as in X3; None without it.
    """

    random: PoseInput
    adversarial: PoseInput | None
    visible: Tensor | None


@torch.no_grad()
def glimpse(task: Task, state: TrainState, batch: CanvasBatch, most: int, joint: bool = True) -> Glimpse:
    """Augment the first images of a batch as the step that comes next would, were they in it.

    Args:
        task: Config and data geometry.
        state: Networks, and which step comes next; not changed.
        batch: Images on the networks' device.
        most: How many of them at most.
        joint: Whether steps are those of stage 3; without it there is random augmentation alone.
    """
    config, device = task.config, batch.canvas.device
    count = min(most, len(batch), config.run.global_batch_size)
    batch = batch.part(slice(0, count))
    sides = [side for _, side in state.pose_net.bridge_shapes]
    masks = len(sides) if config.aho.hierarchy == "independent" else 1
    slots = slice(0, count)
    random = random_augmentation(config, state.step).part(slots).to(device)
    draws = adversarial_draws(config, state.step, masks).part(slots).to(device)
    seen, adversarial, visible = task.see(batch, random), None, None
    with evaluating(state.pose_net):
        if joint and state.asr_net is not None:
            with evaluating(state.asr_net):
                features = state.pose_net.descend(task.see(batch, canonical(count, device)).image).features
                log_scale, log_rotation = state.asr_net(features)
            drawn = draw_asr(log_scale, log_rotation, random, draws, config.asr)
            adversarial = task.see(batch, drawn.augmentation)
        if joint and state.aho_net is not None:
            with evaluating(state.aho_net):
                log_cells = state.aho_net(state.pose_net.descend(seen.image).features)
            finest = draw_occlusion(log_cells, draws, config.aho, sides).masks[0]
            visible = nn.functional.interpolate(finest, size=seen.image.shape[-2:], mode="nearest")
    return Glimpse(seen, adversarial, visible)
