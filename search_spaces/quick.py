"""A first look: bin counts, grid, reward and penalty, and the rates that decide whether anything learns."""

from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.scheduling import Halving
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=6,
    fields={
        "asr.scale_bins": Choice((5, 7)),
        "asr.rotation_bins": Choice((7, 9)),
        "aho.grid_width": Choice((2, 3)),
        "reward.alpha": Uniform(0.05, 0.5),
        "reward.beta": Uniform(0.1, 1.0),
        "optim.pose_lr": LogUniform(5e-4, 2e-3),
        "optim.joint_lr": LogUniform(5e-5, 1e-3),
    },
    scheduling=Halving(grace_joint_epochs=1, reduction_factor=2),
)
