from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ray_advpose.config import Config
from ray_advpose.data.shards import ShardSet
from ray_advpose.data.task import task_for
from ray_advpose.data.validation import SplitPredictions
from ray_advpose.evidence import robustness
from ray_advpose.evidence.one_run import Means
from ray_advpose.evidence.robustness import measure_robustness, read_robustness
from ray_advpose.nets.bridge import BridgedPoseNet, Descent
from ray_advpose.training.evaluation import predict
from ray_advpose.training.state import make_state


def test_unchanged_pictures_score_as_predictions_do(means: Means, drawn_people: ShardSet, base: Config):
    task = task_for(base, drawn_people)
    net, held = make_state(base, 14, means.device).pose_net, means.splits["test"]
    found = measure_robustness(task, held, net)
    joints = predict(net, held.evaluated(4), task).joints_px
    pooled = SplitPredictions(joints, held.truth, drawn_people.manifest.protocol, "exact", False).score().pooled
    for change, unchanged in (("rotation", 0), ("scale", 1.0), ("occlusion", 0)):
        place = found.values[change].index(unchanged)
        assert found.accuracy[change][place] == pytest.approx(pooled, abs=1e-6)
        assert found.loss[change][place] == pytest.approx(found.loss["rotation"][4])


def test_single_persons_agree_with_the_curve_and_survive_their_files(
    means: Means, drawn_people: ShardSet, base: Config, tmp_path: Path
):
    task, held = task_for(base, drawn_people), means.splits["test"]
    net = make_state(base, 14, means.device).pose_net
    measure_robustness(task, held, net).write(tmp_path, "test")
    read = read_robustness(tmp_path)
    assert read.curves() == measure_robustness(task, held, net).curves()
    assert read.relative.keys() == read.accuracy.keys()
    for change, relative in read.relative.items():
        by_value = relative.reshape(len(held), len(read.values[change]), 14)
        counted = ~np.isnan(by_value)
        assert (counted == counted[:, :1]).all()
        shares = 100 * (by_value <= task.pck_threshold).sum(axis=(0, 2)) / counted.sum(axis=(0, 2))
        assert shares == pytest.approx(read.accuracy[change], abs=1e-4)


class Recording(BridgedPoseNet):
    """Keeps what it is shown and finds nothing."""

    bridge_shapes = ()

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def descend(self, x_in):
        self.seen.append(x_in)
        return Descent(())

    def ascend(self, descent, masks=None):
        return torch.zeros(len(self.seen[-1]), 1, 14, 8, 8)


def test_so_many_cells_are_black_and_the_same_for_every_network(means: Means, drawn_people: ShardSet, base: Config):
    task, held = task_for(base, drawn_people), means.splits["test"]
    shown = []
    for batch_size in (4, 100):
        net = Recording()
        sized = task_for(base.replaced({"run.eval_batch_size": batch_size}), drawn_people)
        for cells in robustness.OCCLUDED_CELLS:
            robustness._measure(sized, held, net, 0, 1.0, cells)
        shown.append(torch.cat(net.seen).unflatten(0, (len(robustness.OCCLUDED_CELLS), len(held))))
    # However the persons come.
    assert torch.equal(shown[0], shown[1])
    plain = shown[0][0]
    assert task.config.net.input_px == 32
    for pictures, cells in zip(shown[0], robustness.OCCLUDED_CELLS, strict=True):
        tiles = pictures.unflatten(3, (4, 8)).unflatten(2, (4, 8))
        changed = (tiles != plain.unflatten(3, (4, 8)).unflatten(2, (4, 8))).any(dim=(1, 3, 5))
        black = (tiles == 0).all(dim=1).all(dim=2).all(dim=3)
        assert (changed <= black).all()
        assert (black.flatten(1).sum(dim=1) >= cells).all()
        assert (changed.flatten(1).sum(dim=1) <= cells).all()


def test_turned_and_scaled_pictures_have_their_joints_where_they_are_seen(
    means: Means, drawn_people: ShardSet, base: Config
):
    """A network that reads off the answer is right at every rotation and scale, as far as joints are in sight."""
    task, held = task_for(base, drawn_people), means.splits["test"]

    class Knowing(Recording):
        def ascend(self, descent, masks=None):
            return targets.pop(0)[:, None]

    targets = []
    seen = task.see

    def see(batch, draw):
        found = seen(batch, draw)
        targets.append(found.target)
        return found

    object.__setattr__(task, "see", see)
    found = measure_robustness(task, held, Knowing())
    assert min(found.accuracy["rotation"]) > 95
    assert found.accuracy["scale"][-1] == 100.0
    assert np.allclose(found.loss["rotation"], 0)
