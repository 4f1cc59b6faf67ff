"""What evidence tunes of joint training; `search_spaces/evidence_random.py` is drawn from as often."""

from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=6,
    fields={
        "reward.baseline": Choice(("none", "batch")),
        # alpha > beta feeds whatever is drawn most, with the batch as baseline at any rate (reward.rates).
        "reward.alpha": Uniform(0.1, 0.5),
        "reward.beta": Uniform(0.5, 1.0),
        # Without one G_ASR came to draw the same bin for every image (docs/RESULTS.md).
        "reward.probability_cap": Uniform(1.2, 3.0),
        # Of LSPET's validation persons a quarter is head down, more or less; their sizes the crop makes alike.
        "asr.max_scale_log2": Uniform(0.05, 0.4),
        "asr.max_rotation_deg": Uniform(45, 180),
        "aho.max_cells": Choice((1, 2)),
        "optim.joint_lr": LogUniform(5e-5, 1e-3),
        # What the share without a network and the occluded one are augmented by, and draws are compared with.
        "random.scale_times": Uniform(0.2, 1.3),
        "random.rotation_times": Uniform(0.5, 3.0),
        "random.rotated_share": Uniform(0.3, 1.0),
    },
    scheduling=RunAll(),
)
