import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.adversary.bins import rotation_bins, sample_index, scale_bins, sweep_targets
from ray_advpose.sections import AsrConfig


def test_paper_bins_are_evenly_spaced():
    scales, rotations = scale_bins(AsrConfig()), rotation_bins(AsrConfig())
    assert scales.centers.tolist() == pytest.approx([-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6], abs=1e-6)
    assert rotations.centers.tolist() == [-60, -45, -30, -15, 0, 15, 30, 45, 60]
    assert (scales.sigma, rotations.sigma) == (0.05, 5.0)


def test_a_draw_is_the_centre_plus_sigma_times_normal():
    drawn = rotation_bins(AsrConfig()).draw(torch.tensor([0, 4, 8]), torch.tensor([0.5, 0.0, -1.0]))
    assert drawn.tolist() == [-57.5, 0, 55]


@given(st.integers(0, 6), st.floats(-50, 50))
def test_draws_stay_within_a_sigma_of_their_centre(index, normal):
    bins = scale_bins(AsrConfig())
    drawn = bins.draw(torch.tensor([index]), torch.tensor([normal], dtype=torch.float32))
    assert abs(drawn.item() - (-0.6 + 0.2 * index)) <= 0.05 + 1e-6


@pytest.mark.parametrize(
    ("uniform", "index"), [(0.0, 0), (0.19, 0), (0.21, 1), (0.49, 1), (0.51, 2), (0.9999999, 2), (1.0, 2)]
)
def test_an_index_inverts_the_cumulative_distribution(uniform, index):
    log_probability = torch.tensor([[0.2, 0.3, 0.5]]).log()
    assert sample_index(log_probability, torch.tensor([uniform])).item() == index


def test_a_bin_without_probability_is_never_drawn():
    log_probability = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).log()
    drawn = {sample_index(log_probability, torch.tensor([u])).item() for u in (0.0, 0.3, 0.5, 0.7, 0.99999994)}
    assert drawn == {1, 3}


def test_indices_come_as_often_as_predicted():
    probability = torch.tensor([0.1, 0.6, 0.05, 0.25])
    count = 20_000
    uniform = torch.tensor(np.random.default_rng(0).random(count, dtype=np.float32))
    found = sample_index(probability.log().expand(count, 4), uniform).bincount(minlength=4) / count
    torch.testing.assert_close(found, probability, atol=0.015, rtol=0)


def test_every_loss_of_the_sweep_goes_to_its_scale_and_its_rotation_bin():
    losses = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 0.0, 10.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    by_scale, by_rotation = sweep_targets(losses)
    # First image: rows sum to 6 and 14, columns to 5, 2 and 13, everything to 20.
    torch.testing.assert_close(by_scale, torch.tensor([[0.3, 0.7], [1, 0]]))
    torch.testing.assert_close(by_rotation, torch.tensor([[0.25, 0.1, 0.65], [0, 1, 0]]))


def test_a_person_without_any_loss_gets_uniform_targets():
    by_scale, by_rotation = sweep_targets(torch.zeros(1, 2, 4))
    assert by_scale.tolist() == [[0.5, 0.5]]
    assert by_rotation.tolist() == [[0.25] * 4]
