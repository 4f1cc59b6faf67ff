import pytest
import torch
from tiny_run import train_to

from ray_advpose.data.identity import identity_of
from ray_advpose.training.checkpoint import write_checkpoint
from ray_advpose.training.checkpoint_size import checkpoint_bytes
from ray_advpose.training.restoring import take_snapshot


def size_after(run, step, folder):
    train_to(run, step)
    assert run.state.step == step
    write_checkpoint(folder, take_snapshot(run.state), identity_of(run.shards))
    return (folder / "state.pt").stat().st_size


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"optim__optimizer": "rmsprop"},
        {"asr__enabled": False},
        {"asr__enabled": False, "aho__enabled": False},
        {"net__architecture": "unet"},
        {"run__sync_batchnorm": True},
    ],
)
def test_a_checkpoint_is_as_large_as_was_said(new_run, tmp_path, overrides):
    run = new_run(**overrides)
    # The first step of stage 3, by which every optimiser has its moments, and one more.
    step = run.schedule.spans[-1].first_step + 2
    written = size_after(run, step, tmp_path / "checkpoint")
    assert checkpoint_bytes(run.config, len(run.task.skeleton.joints)) == pytest.approx(written, rel=0.03)


def test_no_checkpoint_of_an_earlier_stage_is_larger(new_run, tmp_path):
    run = new_run()
    said = checkpoint_bytes(run.config, len(run.task.skeleton.joints))
    assert size_after(run, 2, tmp_path / "checkpoint") < said


def test_a_larger_network_has_a_larger_checkpoint(tiny_config):
    small, large = (checkpoint_bytes(tiny_config.replaced({"net.channels": channels}), 14) for channels in (8, 32))
    assert large > 2 * small


def test_whoever_asks_draws_the_same_random_numbers_after(tiny_config):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    checkpoint_bytes(tiny_config, 14)
    assert torch.equal(torch.rand(4), expected)
