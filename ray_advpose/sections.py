"""Every setting of a run, by concern: its default, its bounds, and whether it shapes a tensor.

`ray_advpose.config.Config` puts the sections together. Fields marked structural change the shape of
a network and so cannot change within a trial.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

_STRUCTURAL: JsonDict = {"structural": True}

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

Policy = Literal["learned", "uniform"]
_POLICY: Policy = Field(
    "learned",
    json_schema_extra=_STRUCTURAL,
    description="uniform: drawn evenly, by no network: a control of what the network adds",
)


class Section(BaseModel):
    """Settings that are checked when made and never changed; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PoseNetConfig(Section):
    """The pose network D: a stacked hourglass, or a U-net."""

    architecture: Literal["hourglass", "unet"] = Field("hourglass", json_schema_extra=_STRUCTURAL)
    block: Literal["residual", "dense"] = Field("residual", json_schema_extra=_STRUCTURAL)
    stacks: Count = Field(1, json_schema_extra=_STRUCTURAL)
    blocks_per_unit: Count = Field(1, json_schema_extra=_STRUCTURAL)
    channels: int = Field(48, ge=4, json_schema_extra=_STRUCTURAL)
    poolings: int = Field(3, ge=1, le=6, json_schema_extra=_STRUCTURAL)
    input_px: int = Field(96, ge=32, json_schema_extra=_STRUCTURAL)
    dense_layers: Count = Field(6, json_schema_extra=_STRUCTURAL)
    dense_growth: Count = Field(32, json_schema_extra=_STRUCTURAL)

    @property
    def heatmap_px(self) -> int:
        """Side of the square heatmaps, a quarter of the input's."""
        return self.input_px // 4

    @property
    def lowest_px(self) -> int:
        """Side of the lowest feature map."""
        return self.heatmap_px >> self.poolings

    @model_validator(mode="after")
    def _check(self) -> PoseNetConfig:
        divisor = 4 << self.poolings
        if self.input_px % divisor:
            raise ValueError(
                f"input_px = {self.input_px} does not divide by {divisor},"
                f" which is 4 x 2^poolings with poolings = {self.poolings}"
            )
        if self.lowest_px < 2:
            raise ValueError(f"poolings = {self.poolings} leaves a map of one position of input_px = {self.input_px}")
        if self.block == "residual" and self.channels % 4:
            raise ValueError(f"channels = {self.channels} does not divide by 4")
        for field, only in (("block", "residual"), ("stacks", 1), ("blocks_per_unit", 1)):
            if self.architecture == "unet" and (value := getattr(self, field)) != only:
                raise ValueError(f"{field} = {value!r} is for hourglasses; architecture = 'unet' takes {only!r} only")
        return self


class AsrConfig(Section):
    """Adversarial scaling and rotating (Section 4.1): bins and their bounded Gaussians."""

    enabled: bool = True
    policy: Policy = _POLICY
    scale_bins: int = Field(7, ge=2, json_schema_extra=_STRUCTURAL)
    rotation_bins: int = Field(9, ge=2, json_schema_extra=_STRUCTURAL)
    max_scale_log2: float = Field(0.6, gt=0, le=2)
    max_rotation_deg: float = Field(60.0, gt=0, le=180)
    scale_sigma_log2: float = Field(0.05, ge=0, le=0.5)
    rotation_sigma_deg: float = Field(5.0, ge=0, le=45)

    @property
    def learned(self) -> bool:
        """Whether there is a network."""
        return self.enabled and self.policy == "learned"


class AhoConfig(Section):
    """Adversarial hierarchical occluding (Section 4.2): the cell grid and the mask."""

    enabled: bool = True
    policy: Policy = _POLICY
    grid_width: int = Field(4, ge=2, json_schema_extra=_STRUCTURAL)
    grid_height: int = Field(4, ge=2, json_schema_extra=_STRUCTURAL)
    max_cells: int = Field(2, ge=1, le=4)
    hierarchy: Literal["up", "down", "independent"] = Field("up", description="Figure 4; the paper uses the first")
    reference: Literal["random_cells", "none"] = "random_cells"

    @property
    def learned(self) -> bool:
        """Whether there is a network."""
        return self.enabled and self.policy == "learned"


class RewardConfig(Section):
    """Reward and penalty (Section 4.3, Eq. 5 and 6)."""

    alpha: Rate = 0.2
    beta: Rate = 0.5
    reward_by: Literal["loss", "pckh"] = "loss"
    probability_cap: float | None = Field(None, gt=1, description="times 1/k; the authors' release uses 2")
    baseline: Literal["none", "batch"] = Field(
        "none",
        description="batch: alpha times the share of the batch's draws that was penalised, beta times the rewarded one,"
        " for alpha <= beta and with a cap",
    )


class RandomConfig(Section):
    """The random augmentation space Gamma, which is also the reference of the comparison."""

    random_range: Literal["release", "paper"] = "release"
    scale_times: float = Field(1.0, ge=0, le=4, description="the range of log2 scale is multiplied by this")
    rotation_times: float = Field(1.0, ge=0, le=3, description="the range of rotation is multiplied by this")
    rotated_share: float = Field(0.4, ge=0, le=1, description="of the images, in the range of the release")
    flip_probability: float = Field(0.5, ge=0, le=1)
    color_range: float = Field(0.4, ge=0, lt=1, description="channels are multiplied by 1 -+ this")


class LossConfig(Section):
    """Heatmap targets and the loss on them."""

    target_sigma_px: Positive = Field(1.0, description="heatmap pixels")
    foreground_weight: float = Field(0.0, ge=0, description="w in 1 + w t; 0 is the plain MSE")
    decoder: Literal["paper", "exact"] = "paper"


class StagesConfig(Section):
    """How long each stage lasts; an epoch is one pass over the stage's images."""

    pose_epochs: Count = 4
    pretrain_epochs: Count = 4
    pretrain_images: int | None = Field(256, ge=1, description="None: all training images")
    joint_epochs: Count = 4


class OptimConfig(Section):
    """Optimisers, learning rates of the three stages, and whose images evaluation's BatchNorm statistics are of."""

    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    pose_lr: Positive = 2.5e-4
    pose_lr_after_plateau: Positive = 5e-5
    plateau_patience_epochs: Count | None = Field(
        5, description="epochs of stage 3 without a better score after which D's rate drops; None: at no plateau"
    )
    drop_after_joint_epochs: int | None = Field(
        None, ge=1, description="epochs of stage 3 after which D's rate drops, plateau or not; None: at a plateau only"
    )
    pretrain_lr: Positive = 2.5e-4
    joint_lr: Positive = Field(5e-5, description="of both augmentation networks in stage 3")
    adversarial_bn: Literal["shared", "separate"] = Field(
        "shared", description="whether adversarial passes move the running statistics that evaluation uses"
    )


class RunSection(Section):
    """Batch, seed, processes and saving."""

    seed: int = Field(0, ge=0, lt=2**32)
    global_batch_size: int = Field(24, ge=3)
    num_workers: int = Field(1, ge=1, description="the most, if min_workers is given")
    min_workers: int | None = Field(None, ge=1, description="of train.py, where machines come and go; None: fixed")
    sync_batchnorm: bool = Field(
        False, description="BatchNorm by statistics over the global batch instead of each worker's part"
    )
    torch_threads_per_worker: Count = 1
    cpus_per_worker: Positive = Field(1.0, description="what its data tasks take is counted here as well")
    gpus_per_worker: float = Field(0.0, ge=0)
    eval_batch_size: Count = 50
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of training's convolutions; bfloat16 is for GPUs, and scores are always of float32"
    )
    cuda_graphs: bool = Field(
        False, description="replay steps of stages 1 and 3 as CUDA graphs, on a GPU: for small nets, one worker"
    )
    deterministic: bool = Field(False, description="refuse operations whose results vary, as some on GPUs do")
    probe_images: int = Field(
        16, ge=0, description="validation images on which the loss by bin and cell is measured at epochs' ends; 0: none"
    )
    log_samples: bool = Field(False, description="write down what every step was trained on, in samples/")
    checkpoint_every_epochs: Count = 1
    checkpoint_every_s: Positive = Field(300.0, description="within an epoch, while training goes on")
    keep_last_checkpoints: int = Field(
        2, ge=2, description="of epochs' ends; a trial may still point at the last but one"
    )
