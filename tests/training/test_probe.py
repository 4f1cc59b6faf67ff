from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import TinyRun, finish, shake

from ray_advpose.data.probe_images import read_probe_images
from ray_advpose.training.batch import CanvasBatch
from ray_advpose.training.draws import canonical
from ray_advpose.training.history import Probe
from ray_advpose.training.probe import measure_probe


@pytest.fixture
def run(new_run) -> TinyRun:
    run = new_run()
    for net in run.state.networks.values():
        shake(net)
    return run


def probe_of(run: TinyRun, images: CanvasBatch) -> Probe:
    return measure_probe(run.task, images, run.state.pose_net, run.state.asr_net, run.state.aho_net)


def loss_by_hand(run: TinyRun, images: CanvasBatch, place: int, scale: float, degrees: float, dark=None) -> float:
    """One image through D, one augmentation, the loss of the paper in numpy."""
    one = images.part(slice(place, place + 1))
    still = canonical(1, torch.device("cpu"))
    seen = run.task.see(one, replace(still, scale=torch.tensor([scale]), rotation_deg=torch.tensor([degrees])))
    pose_net = run.state.pose_net.eval()
    with torch.no_grad():
        descent = pose_net.descend(seen.image)
        masks = None
        if dark is not None:
            masks = [
                torch.from_numpy(np.kron(1 - dark, np.ones((side // len(dark),) * 2))).float()[None, None]
                for _, side in pose_net.bridge_shapes
            ]
        heatmaps = pose_net.ascend(descent, masks)[0].double().numpy()
    pose_net.train()
    target, counted = seen.target[0].double().numpy(), seen.counted[0].numpy()
    weight = 1 + run.config.loss.foreground_weight * target
    per_joint = ((heatmaps - target) ** 2 * weight).mean(axis=(2, 3)).sum(axis=0)
    return float(per_joint[counted].sum() / max(1, counted.sum()))


def test_losses_are_those_of_one_image_and_one_augmentation_at_a_time(run):
    images = read_probe_images(run.shards, 5)
    probe = probe_of(run, images)
    assert probe.images == 5
    for log2, loss in zip(probe.scales_log2, probe.loss_scale, strict=True):
        expected = np.mean([loss_by_hand(run, images, place, 2**log2, 0.0) for place in range(5)])
        assert loss == pytest.approx(expected, rel=1e-4)
    for degrees, loss in zip(probe.rotations_deg, probe.loss_rotation, strict=True):
        expected = np.mean([loss_by_hand(run, images, place, 1.0, degrees) for place in range(5)])
        assert loss == pytest.approx(expected, rel=1e-4)
    assert len(set(probe.loss_rotation)) > 1


def test_a_cell_is_measured_by_itself(run):
    images = read_probe_images(run.shards, 4)
    probe = probe_of(run, images)
    height, width = probe.grid
    for cell, loss in enumerate(probe.loss_cells):
        dark = np.zeros((height, width))
        dark[divmod(cell, width)] = 1
        expected = np.mean([loss_by_hand(run, images, place, 1.0, 0.0, dark) for place in range(4)])
        assert loss == pytest.approx(expected, rel=1e-4)
    assert len(set(probe.loss_cells)) > 1


def test_predictions_are_mean_distributions(run):
    images = read_probe_images(run.shards, 6)
    probe = probe_of(run, images)
    for predicted, bins in (
        (probe.predicted_scale, run.config.asr.scale_bins),
        (probe.predicted_rotation, run.config.asr.rotation_bins),
        (probe.predicted_cells, run.config.aho.grid_height * run.config.aho.grid_width),
    ):
        assert len(predicted) == bins
        assert sum(predicted) == pytest.approx(1)
    alone = [probe_of(run, images.part(slice(place, place + 1))).predicted_rotation for place in range(6)]
    assert probe.predicted_rotation == pytest.approx(np.mean(alone, axis=0), rel=1e-4)


def test_measuring_changes_nothing(run):
    images = read_probe_images(run.shards, 4)
    before = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in run.state.networks.items()}
    generator = torch.random.get_rng_state()
    first, second = probe_of(run, images), probe_of(run, images)
    assert first == second
    assert torch.equal(generator, torch.random.get_rng_state())
    for name, net in run.state.networks.items():
        assert net.training
        assert all(torch.equal(value, before[name][key]) for key, value in net.state_dict().items())


def test_an_arm_that_is_off_predicts_nothing_and_is_measured(new_run):
    run = new_run(asr__enabled=False, aho__enabled=False)
    probe = probe_of(run, read_probe_images(run.shards, 3))
    assert (probe.predicted_scale, probe.predicted_rotation, probe.predicted_cells) == ([], [], [])
    assert len(probe.loss_rotation) == run.config.asr.rotation_bins


@pytest.mark.parametrize("hierarchy", ["up", "down", "independent"])
def test_every_hierarchy_can_be_measured(new_run, hierarchy):
    run = new_run(aho__hierarchy=hierarchy)
    cells = run.config.aho.grid_height * run.config.aho.grid_width
    assert len(probe_of(run, read_probe_images(run.shards, 2)).loss_cells) == cells


def test_images_are_spread_over_the_validation_split(new_run):
    shards = new_run().shards
    count = shards.count("val")
    assert read_probe_images(shards, 0) is None
    assert read_probe_images(shards, 3).sample.tolist() == [0, round((count - 1) / 2), count - 1]
    assert read_probe_images(shards, 10 * count).sample.tolist() == list(range(count))


def test_epochs_of_later_stages_are_probed_and_a_run_can_do_without(new_run):
    run = new_run(run__probe_images=2)
    finish(run)
    assert [record.probe is not None for record in run.state.history] == [False] * 2 + [True] * 4
    assert all(record.joints.keys() <= set(run.task.skeleton.joints) for record in run.state.history)
    assert run.state.history[0].joints
    without = new_run(run__probe_images=0)
    finish(without)
    assert all(record.probe is None for record in without.state.history)
    # What is measured does not enter training.
    assert [record.means for record in run.state.history] == [record.means for record in without.state.history]
