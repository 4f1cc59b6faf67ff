from __future__ import annotations

import numpy as np

from ray_advpose.pose.skeleton import LSP
from ray_advpose.report.skeletons import draw_skeleton, picture_grid


def test_right_and_left_are_drawn_apart_at_their_joints():
    picture = np.zeros((100, 100, 3), np.uint8)
    joints = np.full((14, 2), np.nan)
    joints[LSP.index("right_ankle")] = 20.5, 80.5
    joints[LSP.index("left_ankle")] = 80.5, 80.5
    drawn = draw_skeleton(picture, joints, LSP)
    right, left = drawn[80, 20].astype(int), drawn[80, 80].astype(int)
    assert right[0] > right[2]
    assert left[2] > left[0]
    assert not picture.any(), "the picture itself is left alone"


def test_joints_without_a_position_are_left_out():
    picture = np.full((50, 50, 3), 7, np.uint8)
    assert np.array_equal(draw_skeleton(picture, np.full((14, 2), np.nan), LSP), picture)


def test_grid_puts_pictures_row_by_row():
    pictures = [np.full((10, 10, 3), value, np.uint8) for value in (50, 100, 150)]
    grid = picture_grid(pictures, columns=2)
    assert grid.shape == (22, 22, 3)
    assert [grid[5, 5, 0], grid[5, 17, 0], grid[17, 5, 0], grid[17, 17, 0]] == [50, 100, 150, 32]
