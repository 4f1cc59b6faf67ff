"""Named configurations: what each is for, and what to expect of it.

A preset is a `Config` and nothing more; every field of it can be overridden by its dotted name.
"""

from __future__ import annotations

from ray_advpose.config import Config
from ray_advpose.errors import UserError, nearest
from ray_advpose.sections import (
    AhoConfig,
    LossConfig,
    OptimConfig,
    PoseNetConfig,
    RewardConfig,
    RunSection,
    StagesConfig,
)

# Under plain MSE small heatmaps can stay at "predict zero" for long; a foreground weight, a wider
# target and Adam at about 1e-3 learn from the first epoch (docs/DEPARTURES.md, "Small sizes").
_SMALL_NET = PoseNetConfig(channels=48, input_px=96, poolings=3)
_SMALL_LOSS = LossConfig(target_sigma_px=1.5, foreground_weight=30.0)
_SMALL_OPTIM = OptimConfig(
    optimizer="adam",
    pose_lr=1e-3,
    pose_lr_after_plateau=2e-4,
    pretrain_lr=1e-3,
    joint_lr=2e-4,
)
# The lowest map of a 96 px input is 3 x 3, so that is the grid "as in the paper": one cell a position.
_SMALL_AHO = AhoConfig(grid_width=3, grid_height=3)

# For a first look. Drawn people (1,200): 26 to 29 PCK@0.2 on validation with a rate that suits, in
# about a minute and a half a trial when two share two cores.
QUICK = Config(
    preset="quick",
    net=PoseNetConfig(channels=32, input_px=64, poolings=3),
    aho=AhoConfig(grid_width=2, grid_height=2, max_cells=1),
    loss=_SMALL_LOSS,
    optim=_SMALL_OPTIM,
    stages=StagesConfig(pose_epochs=4, pretrain_epochs=3, pretrain_images=96, joint_epochs=4),
    run=RunSection(global_batch_size=12, eval_batch_size=40),
)

# For photographs on a laptop. LSPET, 3,000 images: 26 to 30 PCK@0.2 on validation with a rate that
# suits, in about twelve minutes a trial when two share two cores (docs/RESULTS.md).
LSPET_SMALL = Config(
    preset="lspet-small",
    net=_SMALL_NET,
    aho=_SMALL_AHO,
    loss=_SMALL_LOSS,
    optim=_SMALL_OPTIM,
    stages=StagesConfig(pose_epochs=8, pretrain_epochs=3, pretrain_images=256, joint_epochs=8),
    run=RunSection(global_batch_size=12),
)

# The same with a net that is no hourglass: as many FLOPs an image, in five times the parameters, as a
# U-net is wide where its maps are small. What it scores has not been measured at this version.
UNET_SMALL = LSPET_SMALL.model_copy(
    update={
        "preset": "unet-small",
        "net": PoseNetConfig(architecture="unet", channels=16, input_px=96, poolings=3),
    }
)

# For photographs on one GPU: two stacks, a lowest map of 4 x 4 as the paper's, stage 1 long enough that random
# augmentation has little left to teach. LSPET, 3,000 images: about 59 PCK@0.2 on the test part with random
# augmentation; on an H200 stage 1 took 190 s with four at a time, stage 3 67 s (both networks: 144 s) with up to
# twelve. Without a cap on a single probability G_ASR came to draw one bin for every image (docs/RESULTS.md).
LSPET_GPU = Config(
    preset="lspet-gpu",
    net=PoseNetConfig(stacks=2, channels=128, poolings=3, input_px=128),
    reward=RewardConfig(probability_cap=2.0),
    loss=_SMALL_LOSS,
    optim=_SMALL_OPTIM.model_copy(update={"pose_lr_after_plateau": 1e-4, "drop_after_joint_epochs": 14}),
    stages=StagesConfig(pose_epochs=120, pretrain_epochs=8, pretrain_images=384, joint_epochs=24),
    run=RunSection(
        global_batch_size=48, eval_batch_size=200, gpus_per_worker=1.0, precision="bfloat16", cuda_graphs=True
    ),
)

# The paper's sizes, for GPUs and full data sets. What they score here has not been measured; the
# paper reports 87.8 (residual) and 87.6 (dense) PCKh@0.5 on MPII validation.
PAPER_RESIDUAL = Config(
    preset="paper-residual",
    net=PoseNetConfig(block="residual", stacks=4, blocks_per_unit=3, channels=256, poolings=4, input_px=256),
    stages=StagesConfig(pose_epochs=60, pretrain_epochs=2, pretrain_images=None, joint_epochs=60),
)

PAPER_DENSE = PAPER_RESIDUAL.model_copy(
    update={
        "preset": "paper-dense",
        "net": PoseNetConfig(block="dense", stacks=3, blocks_per_unit=1, channels=128, poolings=4, input_px=256),
    }
)

PAPER_8STACK = PAPER_RESIDUAL.model_copy(
    update={
        "preset": "paper-8stack",
        "net": PoseNetConfig(block="residual", stacks=8, blocks_per_unit=1, channels=256, poolings=4, input_px=256),
    }
)

PRESETS = {
    config.preset: config
    for config in (QUICK, LSPET_SMALL, UNET_SMALL, LSPET_GPU, PAPER_RESIDUAL, PAPER_DENSE, PAPER_8STACK)
}


# The rows of the paper's Table 1. Every arm gives D the same number of images, over stages 1 and 3.
ARMS: dict[str, dict[str, bool]] = {
    "random": {"asr.enabled": False, "aho.enabled": False},
    "asr": {"asr.enabled": True, "aho.enabled": False},
    "aho": {"asr.enabled": False, "aho.enabled": True},
    "asr+aho": {"asr.enabled": True, "aho.enabled": True},
}


def preset_named(name: str) -> Config:
    """Return the preset called ``name``; `UserError` names the nearest one if there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}{nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
