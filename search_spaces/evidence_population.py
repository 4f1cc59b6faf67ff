"""Joint training's settings as functions of time, in ranges as wide as bodies lie.

What a population makes of the fields of `evidence_joint.py` that do not decide stage 1, and of D's last rate.
"""

from ray_advpose.search.domains import LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace

_FIELDS: dict[str, Uniform | LogUniform] = {
    "reward.alpha": Uniform(0.05, 1.0),
    "reward.beta": Uniform(0.1, 1.0),
    "reward.probability_cap": Uniform(1.2, 3.0),
    "asr.max_scale_log2": Uniform(0.05, 0.4),
    "asr.max_rotation_deg": Uniform(30, 180),
    "optim.joint_lr": LogUniform(5e-5, 1e-3),
    "optim.pose_lr_after_plateau": LogUniform(5e-5, 5e-4),
}

SPACE = SearchSpace(
    trials=6,
    fields=_FIELDS,
    scheduling=Exploiting(mutate=tuple(_FIELDS), every_joint_epochs=2, fraction=0.25),
)
