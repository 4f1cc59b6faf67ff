"""Matrices, points and pixels agree with each other about where a place on the canvas goes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_advpose.pose import geometry
from ray_advpose.pose.skeleton import LSP, MPII

CANVAS_PX, BOX_PX, INPUT_PX = 96, 50.0, 48

draws = st.tuples(st.floats(0.6, 1.6), st.floats(-180, 180), st.booleans())


def matrix_of(*items, box_px=BOX_PX, canvas_px=CANVAS_PX, input_px=INPUT_PX):
    scale, rotation, flip = zip(*items, strict=True)
    return geometry.input_from_canvas(
        torch.tensor(scale), torch.tensor(rotation), torch.tensor(flip), box_px, canvas_px, input_px
    )


def moved(matrix, *points):
    return geometry.transform_points(matrix, torch.tensor(points)[None].expand(len(matrix), -1, -1))


def close(a, b, within=1e-3):
    torch.testing.assert_close(a, b, rtol=0, atol=within)


def test_hand_computed_places():
    matrix = matrix_of((1.0, 0.0, False), (2.0, 0.0, False), (1.0, 90.0, False), (1.0, 0.0, True), (1.0, 90.0, True))
    centre, left_edge, top_right = moved(matrix, (48.0, 48.0), (23.0, 48.0), (73.0, 23.0)).unbind(1)
    close(centre, torch.full((5, 2), 24.0))
    # The box is 50 px wide, so its left edge is the input's; at scale 2 it is half as far out. A
    # quarter turn counter-clockwise brings what is left to the bottom, a flip to the right.
    close(left_edge, torch.tensor([[0.0, 24.0], [12.0, 24.0], [24.0, 48.0], [48.0, 24.0], [24.0, 48.0]]))
    close(top_right, torch.tensor([[48.0, 0.0], [36.0, 12.0], [0.0, 0.0], [0.0, 0.0], [48.0, 0.0]]))


@given(draws, st.tuples(st.floats(-20, 120), st.floats(-20, 120)))
def test_inverse_undoes_the_matrix(draw, point):
    matrix = matrix_of(draw)
    inverse = geometry.invert(matrix)
    close(moved(geometry.compose(inverse, matrix), point), torch.tensor([[point]]))
    close(geometry.transform_points(inverse, moved(matrix, point)), torch.tensor([[point]]))


@given(draws, draws, st.tuples(st.floats(0, 96), st.floats(0, 96)))
def test_compose_applies_inner_first(inner, outer, point):
    inner_matrix, outer_matrix = matrix_of(inner), matrix_of(outer)
    step_by_step = geometry.transform_points(outer_matrix, moved(inner_matrix, point))
    close(moved(geometry.compose(outer_matrix, inner_matrix), point), step_by_step)


@given(draws, st.tuples(st.floats(0, 96), st.floats(0, 96)))
def test_flip_mirrors_the_finished_crop(draw, point):
    scale, rotation, _ = draw
    plain = moved(matrix_of((scale, rotation, False)), point)
    flipped = moved(matrix_of((scale, rotation, True)), point)
    close(flipped, torch.stack([INPUT_PX - plain[..., 0], plain[..., 1]], dim=-1))


@pytest.mark.parametrize("skeleton", [LSP, MPII], ids=lambda skeleton: skeleton.name)
def test_mirroring_joints_swaps_sides_of_flipped_items_and_is_an_involution(skeleton):
    mirror = torch.from_numpy(skeleton.mirror)
    values = torch.arange(2 * len(mirror) * 2).view(2, len(mirror), 2)
    flip = torch.tensor([False, True])
    once = geometry.mirror_joints(values, flip, mirror)
    assert torch.equal(once[0], values[0])
    assert torch.equal(once[1, skeleton.index("left_knee")], values[1, skeleton.index("right_knee")])
    assert torch.equal(once[1, skeleton.index("head_top")], values[1, skeleton.index("head_top")])
    assert torch.equal(geometry.mirror_joints(once, flip, mirror), values)
    flags = torch.rand(2, len(mirror)) < 0.5
    assert torch.equal(geometry.mirror_joints(flags, flip, mirror)[1], flags[1, mirror])


def test_inside_is_half_open_and_refuses_nan():
    points = torch.tensor([[[0.0, 0.0], [47.9, 47.9], [48.0, 1.0], [1.0, -0.1], [float("nan"), 1.0]]])
    assert geometry.inside(points, 48).tolist() == [[True, True, False, False, False]]


@given(st.lists(st.tuples(draws, st.integers(40, 55), st.integers(40, 55)), min_size=1, max_size=6))
def test_warp_moves_a_bright_dot_to_where_its_point_goes(items):
    matrix = matrix_of(*(draw for draw, _, _ in items))
    canvas = torch.zeros(len(items), CANVAS_PX, CANVAS_PX, 3, dtype=torch.uint8)
    for item, (_, x, y) in enumerate(items):
        canvas[item, y - 1 : y + 2, x - 1 : x + 2] = 255
    centre_cv = torch.tensor([[[x + 0.5, y + 0.5]] for _, x, y in items])
    target_in = geometry.transform_points(matrix, centre_cv)[:, 0]
    picture = geometry.warp(canvas, matrix, INPUT_PX).sum(dim=1)
    pixel_in = torch.arange(INPUT_PX) + 0.5
    for item, expected in enumerate(target_in):
        weight = picture[item] / picture[item].sum()
        found = torch.stack([(weight.sum(0) * pixel_in).sum(), (weight.sum(1) * pixel_in).sum()])
        assert (found - expected).abs().max() < 0.3


def test_a_crop_the_size_of_its_box_copies_the_pixels():
    canvas = torch.randint(0, 256, (7, 40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    identity = torch.tensor([[1.0, 0.0, -10.0], [0.0, 1.0, -4.0]]).expand(7, 2, 3)
    expected = canvas[:, 4:36, 10:42].permute(0, 3, 1, 2) / 255
    close(geometry.warp(canvas, identity, 32), expected, within=1e-4)


def test_mirrored_matrix_gives_the_mirror_image():
    canvas = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    plain = geometry.warp(canvas, matrix_of((1.2, 25.0, False)), INPUT_PX)
    flipped = geometry.warp(canvas, matrix_of((1.2, 25.0, True)), INPUT_PX)
    close(flipped, plain.flip(3), within=1e-3)


def test_outside_of_the_canvas_is_black():
    canvas = torch.full((1, 20, 20, 3), 255, dtype=torch.uint8)
    picture = geometry.warp(canvas, matrix_of((1.0, 0.0, False), box_px=40.0, canvas_px=20, input_px=40), 40)
    inner = torch.zeros(40, 40, dtype=torch.bool)
    inner[10:30, 10:30] = True
    assert picture[0, :, inner].min() > 1 - 1e-4
    assert picture[0, :, ~inner].max() < 1e-4


def test_color_scales_channels_and_clamps():
    canvas = torch.full((2, 20, 20, 3), 204, dtype=torch.uint8)
    matrix = matrix_of((1.0, 0.0, False), (1.0, 0.0, False), box_px=10.0, canvas_px=20, input_px=8)
    picture = geometry.warp(canvas, matrix, 8, torch.tensor([[0.5, 1.0, 1.4], [1.0, 1.0, 1.0]]))
    close(picture[:, :, 4, 4], torch.tensor([[0.4, 0.8, 1.0], [0.8, 0.8, 0.8]]), within=1e-5)


def test_an_empty_share_warps_to_nothing():
    nothing = torch.zeros(0)
    matrix = geometry.input_from_canvas(nothing, nothing, nothing.bool(), BOX_PX, CANVAS_PX, INPUT_PX)
    assert geometry.warp(torch.zeros(0, 96, 96, 3, dtype=torch.uint8), matrix, INPUT_PX).shape == (0, 3, 48, 48)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_warp_agrees_between_devices():
    canvas = torch.randint(0, 256, (9, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    matrix = matrix_of(*((0.7 + 0.1 * item, 10.0 * item, item % 2 == 0) for item in range(9)))
    color = torch.linspace(0.6, 1.4, 27).view(9, 3)
    on_gpu = geometry.warp(canvas.cuda(), matrix.cuda(), INPUT_PX, color.cuda())
    close(on_gpu.cpu(), geometry.warp(canvas, matrix, INPUT_PX, color), within=1e-3)
