"""What evidence tunes of random augmentation, as often as of joint training: its ranges."""

from ray_advpose.search.domains import Uniform
from ray_advpose.search.scheduling import RunAll
from ray_advpose.search.space import SearchSpace

SPACE = SearchSpace(
    trials=6,
    fields={
        "random.scale_times": Uniform(0.2, 1.3),
        "random.rotation_times": Uniform(0.5, 3.0),
        "random.rotated_share": Uniform(0.3, 1.0),
    },
    scheduling=RunAll(),
)
