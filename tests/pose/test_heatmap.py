"""What is encoded decodes to the same place, without a bias, mirrored or not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat

from ray_advpose.pose import geometry, heatmap
from ray_advpose.pose.skeleton import LSP

SIDE = 24
MIRROR = torch.from_numpy(LSP.mirror)
NAN = float("nan")

coordinates = st.tuples(st.floats(0, SIDE, exclude_max=True, width=32), st.floats(0, SIDE, exclude_max=True, width=32))


def round_trip(joints_hm, decoder, sigma_px=1.0, side=SIDE):
    present = torch.ones(joints_hm.shape[:2], dtype=torch.bool)
    return heatmap.decode(heatmap.encode(joints_hm, present, side, sigma_px, decoder), decoder)


def flip_test_round_trip(joints_hm, present, decoder, sigma_px=1.0, side=SIDE):
    """Decode the flip test's average of perfect heatmaps of the picture and of its mirror image."""
    flip = torch.ones(len(joints_hm), dtype=torch.bool)
    mirrored_hm = geometry.mirror_joints(torch.stack([side - joints_hm[..., 0], joints_hm[..., 1]], -1), flip, MIRROR)
    mirrored_present = geometry.mirror_joints(present, flip, MIRROR)
    maps = heatmap.encode(joints_hm, present, side, sigma_px, decoder)
    maps_of_mirrored = heatmap.encode(mirrored_hm, mirrored_present, side, sigma_px, decoder)
    return heatmap.decode(heatmap.flip_average(maps, maps_of_mirrored, MIRROR), decoder)


def test_hand_computed_maps():
    joints_hm = torch.tensor([[[2.5, 1.5], [2.8, 1.1], [NAN, NAN]]])
    present = torch.tensor([[True, True, False]])
    paper = heatmap.encode(joints_hm, present, 5, 1.0, "paper")
    assert paper[0, 0, 1, 2] == 1
    assert paper[0, 0, 1, 3] == pytest.approx(np.exp(-0.5))
    assert paper[0, 0, 2, 3] == pytest.approx(np.exp(-1.0))
    assert torch.equal(paper[0, 1], paper[0, 0])
    exact = heatmap.encode(joints_hm, present, 5, 2.0, "exact")
    assert exact[0, 1, 1, 2] == pytest.approx(np.exp(-(0.3**2 + 0.4**2) / 8))
    assert (paper[0, 2] == 0).all()
    assert (exact[0, 2] == 0).all()


def test_quarter_pixel_goes_towards_the_higher_neighbour():
    maps = torch.zeros(1, 4, 5, 5)
    maps[0, :, 2, 2] = 1
    maps[0, 0, 2, 3] = 0.5
    maps[0, 1, 1, 2] = 0.5
    maps[0, 2, 2, [1, 3]] = 0.5
    maps[0, 3] = 0
    maps[0, 3, 0, 4] = 1
    decoded = heatmap.decode(maps, "paper")[0].tolist()
    assert decoded == [[2.75, 2.5], [2.5, 2.25], [2.5, 2.5], [4.5, 0.5]]


@given(st.lists(coordinates, min_size=1, max_size=14), st.floats(0.7, 3.0))
def test_round_trips(points, sigma_px):
    joints_hm = torch.tensor([points])
    assert (round_trip(joints_hm, "paper", sigma_px) - joints_hm).abs().max() <= 0.5
    assert (round_trip(joints_hm, "exact", sigma_px) - joints_hm).abs().max() < 0.05


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("decoder", ["paper", "exact"])
def test_ground_truth_comes_back_without_bias(decoder, flip_test):
    joints_hm = torch.rand(1000, 14, 2, generator=torch.Generator().manual_seed(0)) * SIDE
    present = torch.ones(1000, 14, dtype=torch.bool)
    trip = flip_test_round_trip(joints_hm, present, decoder) if flip_test else round_trip(joints_hm, decoder)
    assert_unbiased((trip - joints_hm).flatten(0, 1))


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("decoder", ["paper", "exact"])
def test_real_ground_truth_comes_back_without_bias(decoder, flip_test):
    root = os.environ.get("ADVPOSE_DATA")
    if not root or not Path(root, "lspet").is_dir():
        pytest.skip("ADVPOSE_DATA names no folder with lspet/")
    joints = torch.from_numpy(loadmat(Path(root, "lspet", "joints.mat"))["joints"]).permute(2, 0, 1)
    annotated = joints[:, :, 2] == 1
    joints_px = joints[:, :, :2] - 0.5
    low = joints_px.masked_fill(~annotated[..., None], torch.inf).amin(dim=1)
    high = joints_px.masked_fill(~annotated[..., None], -torch.inf).amax(dim=1)
    box_px = 1.25 * (high - low).amax(dim=1)
    joints_hm = ((joints_px - (low + high)[:, None] / 2) / box_px[:, None, None] + 0.5) * SIDE
    present = annotated & geometry.inside(joints_hm, SIDE)
    maps = heatmap.encode(joints_hm, present, SIDE, 1.5, decoder)
    trip = heatmap.decode(maps, decoder)
    if flip_test:
        trip = flip_test_round_trip(joints_hm, present, decoder, sigma_px=1.5)
    assert present.sum() > 40_000
    assert_unbiased((trip - joints_hm)[present])


def assert_unbiased(error_hm):
    assert error_hm.median(dim=0).values.abs().max() < 0.02


@given(coordinates)
def test_flip_test_agrees_with_the_plain_pass(point):
    joints_hm = torch.tensor(point).expand(1, 14, 2)
    trip = flip_test_round_trip(joints_hm, torch.ones(1, 14, dtype=torch.bool), "exact")
    assert (trip - joints_hm).abs().max() < 0.05


def test_flip_average_swaps_sides_and_columns():
    maps = torch.rand(2, 14, 6, 8, generator=torch.Generator().manual_seed(0))
    mirrored = maps[:, MIRROR].flip(3)
    torch.testing.assert_close(heatmap.flip_average(maps, mirrored, MIRROR), maps)


@pytest.mark.parametrize("decoder", ["paper", "exact"])
def test_broken_maps_become_nan_and_empty_ones_do_not(decoder):
    maps = torch.zeros(1, 4, 6, 6)
    maps[0, 0, 3, 2] = NAN
    maps[0, 1, 1, 1] = torch.inf
    maps[0, 3] = -1
    decoded = heatmap.decode(maps, decoder)[0]
    assert decoded[:2].isnan().all()
    assert decoded[2:].isfinite().all()


@given(st.integers(0, 2**32 - 1))
def test_exact_stays_within_half_a_pixel_of_the_peak_on_any_map(seed):
    maps = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(seed))
    peak = maps.flatten(2).argmax(2)
    centre = torch.stack([peak % 9, peak // 9], dim=2) + 0.5
    assert (heatmap.decode(maps, "exact") - centre).abs().max() <= 0.5
    assert (heatmap.decode(maps, "paper") - centre).abs().max() <= 0.25


def test_half_precision_maps_decode_in_single_precision():
    joints_hm = torch.tensor([[[10.3, 4.6]]])
    maps = heatmap.encode(joints_hm, torch.ones(1, 1, dtype=torch.bool), SIDE, 1.5, "exact").bfloat16()
    decoded = heatmap.decode(maps, "exact")
    assert decoded.dtype == torch.float32
    assert (decoded - joints_hm).abs().max() < 0.1
