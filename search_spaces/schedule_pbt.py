"""Settings as functions of time: reward, penalty, ranges and rates change while a population trains.

Nothing structural varies, so trials share stage 1. The ranges end where prepared canvases do by default;
`prepare.py` can cut larger ones.
"""

from ray_advpose.search.domains import LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=8,
    fields={
        "reward.alpha": Uniform(0.05, 0.5),
        "reward.beta": Uniform(0.1, 1.0),
        "asr.max_scale_log2": Uniform(0.2, 0.6),
        "asr.max_rotation_deg": Uniform(20.0, 60.0),
        "optim.joint_lr": LogUniform(5e-5, 1e-3),
    },
    scheduling=Exploiting(
        mutate=("reward.alpha", "reward.beta", "asr.max_scale_log2", "asr.max_rotation_deg", "optim.joint_lr"),
        every_joint_epochs=1,
        fraction=0.25,
    ),
)
