import pytest
import torch
from torch import nn

from ray_advpose.training.modes import evaluating, untracked


@pytest.fixture
def norm():
    norm = nn.BatchNorm1d(1, affine=False, eps=1e-12)
    norm.running_mean.fill_(10)
    norm.running_var.fill_(4)
    return norm


BATCH = torch.tensor([[1.0], [3.0]])


def test_untracked_normalises_by_the_batch_and_leaves_the_running_statistics(norm):
    with untracked(nn.Sequential(norm)):
        assert norm(BATCH).flatten().tolist() == pytest.approx([-1, 1])
    assert (norm.running_mean.item(), norm.running_var.item(), norm.num_batches_tracked.item()) == (10, 4, 0)
    norm(BATCH)
    assert norm.running_mean.item() == pytest.approx(0.9 * 10 + 0.1 * 2)


def test_evaluating_normalises_by_the_running_statistics(norm):
    net = nn.Sequential(norm)
    with evaluating(net):
        assert norm(BATCH).flatten().tolist() == pytest.approx([-4.5, -3.5])
    assert net.training
    assert norm.training
    assert norm.running_mean.item() == 10


def test_evaluating_leaves_a_net_in_eval_mode_there(norm):
    norm.eval()
    with evaluating(norm):
        pass
    assert not norm.training


@pytest.mark.parametrize("mode", [untracked, evaluating])
def test_modes_end_with_an_error(norm, mode):
    with pytest.raises(KeyError), mode(norm):
        raise KeyError
    assert norm.training
    assert norm.track_running_stats
