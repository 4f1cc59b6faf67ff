import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_advpose.adversary.occlusion import draw_cells, draw_reference_cells, hierarchical_masks, vote_cells


def uniforms(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).random(shape, dtype=np.float32))


def test_joints_vote_for_the_cell_they_lie_in_row_by_row():
    # On a 32 px input a 2 x 4 grid has cells 8 px wide and 16 px high.
    joints_in = torch.tensor([[[0.0, 0.0], [7.9, 15.9], [8.0, 16.0]], [[31.9, 31.9], [20.0, 3.0], [20.0, 3.0]]])
    counted = torch.tensor([[True, True, True], [True, True, False]])
    assert vote_cells(joints_in, counted, 32, (2, 4)).tolist() == [2, 0, 1, 0, 0, 1, 0, 1]


def test_uncounted_joints_may_have_any_coordinates():
    joints_in = torch.tensor([[[-500.0, 4.0], [4.0, 900.0]]])
    assert vote_cells(joints_in, torch.zeros(1, 2, dtype=torch.bool), 32, (2, 2)).tolist() == [0, 0, 0, 0]


def test_second_cell_is_drawn_from_what_the_first_left():
    log_probability = torch.tensor([[0.25, 0.25, 0.25, 0.25]]).log()
    # 0.3 falls into cell 1; of cells 0, 2 and 3, one third each, 0.4 falls into cell 2.
    drawn = draw_cells(log_probability, torch.tensor([2]), torch.tensor([[0.3, 0.4]]))
    assert drawn.tolist() == [[False, True, True, False]]


def test_as_many_cells_as_asked_for():
    count = torch.tensor([1, 2, 3] * 200)
    log_probability = torch.randn(600, 9, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    assert torch.equal(draw_cells(log_probability, count, uniforms(600, 3)).sum(dim=1), count)


def test_a_certain_first_cell_leaves_the_others_equally_likely():
    log_probability = torch.tensor([[0.0, -1e4, -1e4, -1e4]]).expand(3000, 4)
    drawn = draw_cells(log_probability, torch.full((3000,), 2), uniforms(3000, 2))
    assert drawn[:, 0].all()
    torch.testing.assert_close(drawn[:, 1:].float().mean(dim=0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_cells_come_as_often_as_predicted():
    probability = torch.tensor([0.5, 0.1, 0.15, 0.25])
    drawn = draw_cells(probability.log().expand(20_000, 4), torch.ones(20_000, dtype=torch.long), uniforms(20_000, 1))
    torch.testing.assert_close(drawn.float().mean(dim=0), probability, atol=0.015, rtol=0)


def test_reference_has_as_many_cells_but_not_the_same_ones():
    count = torch.tensor([1, 2] * 500)
    log_probability = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    drawn = draw_cells(log_probability, count, uniforms(1000, 2, seed=1))
    reference = draw_reference_cells(drawn, count, uniforms(1000, 30, 2, seed=2))
    assert torch.equal(reference.sum(dim=1), count)
    assert not (reference == drawn).all(dim=1).any()


def test_reference_is_redrawn_only_where_it_is_equal():
    drawn = torch.tensor([[True, False], [False, True]])
    # Cells 0 and 0 at first: equal for the first person alone, whose second attempt is cell 1.
    uniform = torch.tensor([[[0.1], [0.9]], [[0.1], [0.9]]])
    reference = draw_reference_cells(drawn, torch.tensor([1, 1]), uniform)
    assert reference.tolist() == [[False, True], [True, False]]


def test_reference_cells_are_uniform():
    drawn = torch.zeros(8000, 4, dtype=torch.bool)
    drawn[:, 0] = True
    reference = draw_reference_cells(drawn, torch.ones(8000, dtype=torch.long), uniforms(8000, 12, 1))
    expected = torch.tensor([0, 1 / 3, 1 / 3, 1 / 3])
    torch.testing.assert_close(reference.float().mean(dim=0), expected, atol=0.02, rtol=0)


STILL = torch.zeros(1, 2)


def test_one_mask_scales_up_to_every_side():
    drawn = torch.tensor([[[False, True, False, False], [True, False, False, True]]])
    fine, coarse = hierarchical_masks(drawn, (2, 2), [4, 2], "up", STILL.expand(2, 2))
    assert coarse.tolist() == [[[[1, 0], [1, 1]]], [[[0, 1], [1, 0]]]]
    assert fine[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert fine.shape == (2, 1, 4, 4)


@pytest.mark.parametrize("hierarchy", ["up", "down", "independent"])
def test_an_occluded_cell_covers_its_share_of_every_map(hierarchy):
    # Where the grid divides every map, nothing is shifted and all draws agree, the designs agree as well.
    sides = [64, 32, 16, 8, 4]
    drawn = torch.eye(16, dtype=torch.bool).expand(5 if hierarchy == "independent" else 1, 16, 16)
    masks = hierarchical_masks(drawn, (4, 4), sides, hierarchy, STILL.expand(16, 2))
    for side, mask in zip(sides, masks, strict=True):
        cell = side // 4
        for index in range(16):
            row, column = divmod(index, 4)
            expected = torch.ones(side, side)
            expected[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 0
            assert torch.equal(mask[index, 0], expected)


def test_a_grid_that_does_not_divide_the_map_gives_shares_of_area():
    # One of 2 x 2 cells on a 3 x 3 map scaled from 6 x 6: a whole position, half of its neighbours, a quarter.
    drawn = torch.tensor([[[True, False, False, False]]])
    _, mask = hierarchical_masks(drawn, (2, 2), [6, 3], "up", STILL)
    assert mask[0, 0].tolist() == [[0, 0.5, 1], [0.5, 0.75, 1], [1, 1, 1]]


def test_a_mask_made_on_the_finest_map_occludes_whatever_it_touches_below():
    # The upper left of 2 x 2 cells, moved right by half a cell: columns 2 to 5 of the finest 8 x 8 map.
    drawn = torch.tensor([[[True, False, False, False]]])
    finest, middle, lowest = hierarchical_masks(drawn, (2, 2), [8, 4, 2], "down", torch.tensor([[0.5, 0.0]]))
    assert (finest[0, 0] == 0).nonzero().tolist() == [[row, column] for row in range(4) for column in range(2, 6)]
    assert (middle[0, 0] == 0).nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert lowest[0, 0].tolist() == [[0, 0], [1, 1]]  # twice what was drawn


def test_what_is_shifted_off_the_map_occludes_nothing():
    drawn = torch.tensor([[[True, False, False, False]]])
    finest, lowest = hierarchical_masks(drawn, (2, 2), [4, 2], "down", torch.tensor([[-0.5, -0.5]]))
    assert (finest[0, 0] == 0).nonzero().tolist() == [[0, 0]]
    assert lowest[0, 0].tolist() == [[0, 1], [1, 1]]


@settings(max_examples=60)
@given(st.integers(0, 15), st.floats(-0.5, 0.5, exclude_max=True), st.floats(-0.5, 0.5, exclude_max=True))
def test_scaling_down_never_occludes_less_than_the_finest_map(cell, x, y):
    drawn = torch.zeros(1, 1, 16, dtype=torch.bool)
    drawn[..., cell] = True
    masks = hierarchical_masks(drawn, (4, 4), [64, 32, 16, 8, 4], "down", torch.tensor([[x, y]]))
    shares = [(mask == 0).float().mean().item() for mask in masks]
    assert shares == sorted(shares)
    assert shares[-1] <= 4 / 16


def test_independent_masks_differ_by_resolution():
    drawn = torch.tensor([[[True, False, False, False]], [[False, False, False, True]]])
    fine, coarse = hierarchical_masks(drawn, (2, 2), [4, 2], "independent", STILL)
    assert fine[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert coarse[0, 0].tolist() == [[1, 1], [1, 0]]
