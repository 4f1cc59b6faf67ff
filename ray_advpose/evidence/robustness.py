"""How a pose network stands up to what it is augmented by: accuracy and loss over rotation, scale and occlusion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ray_advpose.counter import Purpose, generator
from ray_advpose.evidence.held import HeldSplit
from ray_advpose.nets.bridge import BridgedPoseNet
from ray_advpose.pose.heatmap import decode
from ray_advpose.training.draws import canonical
from ray_advpose.training.modes import evaluating
from ray_advpose.training.pose_step import Task

ROTATIONS_DEG = tuple(range(-60, 61, 15))
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6)
OCCLUDED_CELLS = (0, 1, 2, 3, 4, 6, 8)
OCCLUSION_GRID = 4
CHANGED = {"rotation": "turned", "scale": "scaled", "occlusion": "occluded"}
"""What pictures are called that are changed in one way."""
ROBUSTNESS, DISTANCES = "robustness.json", "robustness.npz"


@dataclass(frozen=True, eq=False)
class Robustness:
    """Accuracy and loss on a split, changed in one way at a time.

    Attributes:
        values: For ``rotation`` degrees, for ``scale`` factors of the crop, for ``occlusion`` the number
            of blackened cells of a 4 x 4 grid over the network's input.
        accuracy: By the same names, in percent: all annotated joints pooled, those out of sight too.
        loss: By the same names, D's mean loss over the joints that are in the picture.
        relative: By the same names, (N, V * J) distance / normaliser of every person's joints at each of the V
            values, NaN where one does not count; without what a run by an earlier version did not keep.
    """

    values: dict[str, list[float]]
    accuracy: dict[str, list[float]]
    loss: dict[str, list[float]]
    relative: dict[str, np.ndarray]

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Return everything but single persons."""
        return {"values": self.values, "accuracy": self.accuracy, "loss": self.loss}

    def write(self, folder: Path, split: str) -> None:
        """Write two files that `read_robustness` reads."""
        np.savez_compressed(folder / DISTANCES, allow_pickle=False, **self.relative)
        (folder / ROBUSTNESS).write_text(json.dumps({"split": split, **self.curves()}, indent=1), encoding="utf-8")


def read_robustness(folder: Path) -> Robustness:
    """Read what a finished run was measured at."""
    curves = json.loads((folder / ROBUSTNESS).read_text(encoding="utf-8"))
    relative = dict(np.load(folder / DISTANCES)) if (folder / DISTANCES).exists() else {}
    return Robustness(curves["values"], curves["accuracy"], curves["loss"], relative)


@torch.no_grad()
def measure_robustness(task: Task, split: HeldSplit, pose_net: BridgedPoseNet) -> Robustness:
    """Measure a pose network on a whole split; a function of weights and images, whatever the run's seed."""
    changes = {
        "rotation": [(degrees, 1.0, 0) for degrees in ROTATIONS_DEG],
        "scale": [(0, scale, 0) for scale in SCALES],
        "occlusion": [(0, 1.0, cells) for cells in OCCLUDED_CELLS],
    }
    with evaluating(pose_net):
        found = {name: [_measure(task, split, pose_net, *each) for each in rows] for name, rows in changes.items()}
    return Robustness(
        values={"rotation": list(ROTATIONS_DEG), "scale": list(SCALES), "occlusion": list(OCCLUDED_CELLS)},
        accuracy={name: [accuracy for accuracy, _, _ in rows] for name, rows in found.items()},
        loss={name: [loss for _, loss, _ in rows] for name, rows in found.items()},
        relative={name: np.concatenate([each for _, _, each in rows], axis=1) for name, rows in found.items()},
    )


def _measure(
    task: Task, split: HeldSplit, pose_net: BridgedPoseNet, rotation_deg: float, scale: float, cells: int
) -> tuple[float, float, np.ndarray]:
    net, size = task.config.net, task.config.run.eval_batch_size
    device = split.canvas.device
    scored = torch.from_numpy(task.skeleton.scored).to(device)
    loss = seen_persons = torch.zeros((), device=device, dtype=torch.float64)
    distances = []
    for start in range(0, len(split), size):
        batch = split.batch(0, np.arange(start, min(start + size, len(split))))
        still = canonical(len(batch), device)
        seen = task.see(batch, still.rescaled(still.scale * scale, still.rotation_deg + rotation_deg))
        heatmaps = pose_net(seen.image * _visible(start, len(batch), cells, net.input_px).to(device))
        joints_in = decode(heatmaps[:, -1], task.config.loss.decoder) * (net.input_px / net.heatmap_px)
        usable = (seen.normalizer_in > 0) & seen.normalizer_in.isfinite()
        counts = batch.annotated & scored & usable[:, None]
        relative = (joints_in - seen.joints_in).norm(dim=2) / seen.normalizer_in[:, None]
        distances.append(torch.where(counts, relative.nan_to_num(nan=torch.inf, posinf=torch.inf), torch.nan))
        judged = seen.counted.any(dim=1)
        loss, seen_persons = loss + (task.losses(heatmaps, seen) * judged).sum(), seen_persons + judged.sum()
    relative = torch.cat(distances)
    accuracy = 100 * (relative <= task.pck_threshold).sum().double() / (~relative.isnan()).sum()
    return float(accuracy), float(loss / seen_persons), relative.cpu().numpy()


def _visible(first: int, persons: int, cells: int, input_px: int) -> Tensor:
    """Return (B, 1, S, S) factors that blacken so many cells, other ones for each person, the same for every net."""
    chosen = np.ones((persons, OCCLUSION_GRID**2), dtype=np.float32)
    for person in range(persons):
        order = generator(0, Purpose.OCCLUDED_CELLS, first + person).permutation(OCCLUSION_GRID**2)
        chosen[person, order[:cells]] = 0
    cell_px = input_px // OCCLUSION_GRID
    factors = torch.from_numpy(chosen).view(persons, 1, OCCLUSION_GRID, OCCLUSION_GRID)
    return factors.repeat_interleave(cell_px, dim=2).repeat_interleave(cell_px, dim=3)
