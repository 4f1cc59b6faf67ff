"""Two workers with synced norms against a single one, with parts that differ by an image."""

import copy

import pytest
import torch
from tiny_run import make_run
from torch import nn
from two_workers import WORKERS, norm_passes, on_two_workers, stage_gradients, whole_run

from ray_advpose.nets.synced_norm import SyncedBatchNorm2d, sync_norms
from ray_advpose.training.modes import evaluating, untracked

# 13 images: parts of 7 and 6, and shares of 5, 4 and 4.
UNEVEN = {
    "run.global_batch_size": 13,
    "stages.pose_epochs": 1,
    "stages.pretrain_epochs": 2,
    "stages.pretrain_images": 13,
    "stages.joint_epochs": 1,
    # The one reward that has to know of the other worker's images.
    "reward.baseline": "batch",
}


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config.replaced(UNEVEN)


@pytest.fixture(scope="module")
def alone(config, drawn_people):
    return {"run": whole_run(config, drawn_people), "gradients": stage_gradients(config, drawn_people)}


def train(rank, config, shards):
    """What `alone` holds, by whether norms are synced."""
    found = {}
    for sync in (True, False):
        shared = config.replaced({"run.num_workers": WORKERS, "run.sync_batchnorm": sync})
        found[sync] = {
            "run": whole_run(shared, shards, rank, WORKERS),
            "gradients": stage_gradients(shared, shards, rank, WORKERS),
        }
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory, config, drawn_people):
    return on_two_workers(tmp_path_factory.mktemp("training"), train, config, drawn_people)


def largest_difference(ours, theirs):
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def test_gradients_of_every_stage_are_those_of_a_single_worker(alone, together):
    for stage, expected in alone["gradients"].items():
        synced, unsynced = (together[0][sync]["gradients"][stage] for sync in (True, False))
        largest = max(gradient.abs().max().item() for gradient in expected.values())
        assert largest_difference(synced, expected) < 1e-11 * largest, stage
        assert largest_difference(unsynced, expected) > 1e-3 * largest, stage


def test_a_whole_run_ends_as_on_a_single_worker(alone, together):
    # Measured in float64: weights differ by up to 2e-8, since Adam divides rounding errors by 1e-8, and
    # without syncing by 1. A drawn bin or cell would change where a probability's last digit decides,
    # which is unlikely in a run as short as this.
    for worker in together:
        synced, unsynced = (worker[sync]["run"]["state"] for sync in (True, False))
        assert largest_difference(synced, alone["run"]["state"]) < 1e-6
        assert largest_difference(unsynced, alone["run"]["state"]) > 1e-2


def test_a_whole_run_reports_what_a_single_worker_does(alone, together):
    expected = alone["run"]
    for worker in together:
        # In pixels; measured 6e-9, and without syncing 3.
        assert worker[True]["run"]["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
        for ours, theirs in zip(worker[True]["run"]["means"], expected["means"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-7)
    unsynced = together[0][False]["run"]
    assert unsynced["metrics"] != pytest.approx(expected["metrics"], abs=1e-3)
    assert unsynced["means"][0]["loss_random"] != pytest.approx(expected["means"][0]["loss_random"], abs=1e-4)


def test_every_slot_of_every_step_sees_the_same_images(alone, together):
    expected = alone["run"]["images"]
    parts = [worker[True]["run"]["images"] for worker in together]
    assert all(slot % WORKERS == rank for rank, part in enumerate(parts) for _, slot in part)
    found = {place: images for part in parts for place, images in part.items()}
    assert found.keys() == expected.keys() == {(step, slot) for step in range(10) for slot in range(13)}
    for place, images in expected.items():
        assert len(found[place]) == len(images)
        assert all(map(torch.equal, found[place], images)), place


NORMS = {
    "plain": {},
    "cumulative": {"momentum": None},
    "untracked": {"track_running_stats": False},
    "without weights": {"affine": False},
}


def make_norm(options):
    norm = nn.BatchNorm2d(3, eps=1e-3, **options).double()
    for place, parameter in enumerate(norm.parameters()):
        nn.init.uniform_(parameter, 0.5 + place, 1.5, generator=torch.Generator().manual_seed(place))
    return norm


def whole_batches():
    """Two batches whose channels have means far from 0 and far apart between the workers' parts."""
    rng = torch.Generator().manual_seed(0)
    batches = [torch.randn(5, 3, 4, 2, generator=rng, dtype=torch.float64) for _ in range(2)]
    for batch in batches:
        batch += torch.tensor([0.0, 10.0, -1000.0])[:, None, None]
        batch[1::2] *= 1.5
    slopes = [torch.randn(batch.shape, generator=rng, dtype=torch.float64) for batch in batches]
    return batches, slopes


def pass_part(rank, memory_format):
    """What `norm_passes` gives for slots rank, rank + 2, ..., of each kind of norm."""
    found = {}
    for name, options in NORMS.items():
        net = nn.Sequential(make_norm(options))
        sync_norms(net)
        batches, slopes = (
            [whole[rank::WORKERS].to(memory_format=memory_format) for whole in x] for x in whole_batches()
        )
        found[name] = norm_passes(net[0], batches, slopes)
    return found


@pytest.fixture(scope="module", params=[torch.contiguous_format, torch.channels_last], ids=str)
def passed(request, tmp_path_factory):
    return on_two_workers(tmp_path_factory.mktemp("norms"), pass_part, request.param)


@pytest.mark.parametrize("name", NORMS)
def test_a_synced_norm_is_a_norm_of_the_whole_batch(passed, name):
    expected = norm_passes(make_norm(NORMS[name]), *whole_batches())
    for rank, worker in enumerate(passed):
        found = worker[name]
        # In eval mode a norm without running statistics uses those of the batch it is given.
        outputs = slice(0, -1 if name == "untracked" else None)
        for kind, part in (("outputs", outputs), ("input", slice(None))):
            for ours, whole in zip(found[kind][part], expected[kind][part], strict=True):
                torch.testing.assert_close(ours, whole[rank::WORKERS], rtol=1e-10, atol=1e-10)
        assert found["state"].keys() == expected["state"].keys()
        for key, value in found["state"].items():
            torch.testing.assert_close(value, expected["state"][key], rtol=1e-10, atol=1e-10)
    for first, second, whole in zip(*(worker[name]["affine"] for worker in passed), expected["affine"], strict=True):
        torch.testing.assert_close(first + second, whole, rtol=1e-10, atol=1e-10)


def test_parameters_buffers_and_modes_stay_when_norms_are_synced(tiny_config, drawn_people):
    plain = make_run(tiny_config, drawn_people).state
    synced = make_run(tiny_config, drawn_people, run__sync_batchnorm=True).state
    for name, net in synced.networks.items():
        assert net.state_dict().keys() == plain.networks[name].state_dict().keys()
        norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
        assert norms
        assert {type(norm) for norm in norms} == {SyncedBatchNorm2d}
        with untracked(net):
            assert not any(norm.track_running_stats for norm in norms)
        with evaluating(net):
            assert not any(norm.training for norm in norms)
    assert {type(part) for part in plain.pose_net.modules()}.isdisjoint({SyncedBatchNorm2d})


def test_on_a_single_worker_a_synced_norm_is_a_plain_one():
    batches, slopes = whole_batches()
    plain = make_norm({})
    net = nn.Sequential(copy.deepcopy(plain))
    sync_norms(net)
    ours, theirs = norm_passes(net[0], batches, slopes), norm_passes(plain, batches, slopes)
    for kind in ("outputs", "input", "affine"):
        assert all(map(torch.equal, ours[kind], theirs[kind]))
