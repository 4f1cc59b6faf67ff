"""What the paper leaves to the reader: bins, grid, reward and penalty, around its own choices."""

from ray_advpose.search.domains import Choice, Uniform
from ray_advpose.search.scheduling import Halving
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=32,
    fields={
        "asr.scale_bins": Choice((5, 7, 9)),
        "asr.rotation_bins": Choice((7, 9, 13)),
        "aho.grid_width": Choice((4, 8)),
        "aho.grid_height": Choice((4, 8)),
        "aho.max_cells": Choice((1, 2)),
        "reward.alpha": Uniform(0.05, 1.0),
        "reward.beta": Uniform(0.05, 1.0),
    },
    scheduling=Halving(grace_joint_epochs=10, reduction_factor=3),
)
