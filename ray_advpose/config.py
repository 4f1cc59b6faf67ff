"""Every setting of a run: its default, its bounds, and whether it shapes a tensor.

A `Config` is nested by concern; a dotted name such as ``reward.alpha`` addresses one field, in
presets, on the command line and in search spaces alike. Unknown names fail with the nearest known
one. Fields marked structural change the shape of a network and so cannot change within a trial.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from ray_advpose.errors import UserError, nearest

_STRUCTURAL: JsonDict = {"structural": True}

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PoseNetConfig(_Section):
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
        if self.architecture == "unet":
            for field, only in (("block", "residual"), ("stacks", 1), ("blocks_per_unit", 1)):
                if getattr(self, field) != only:
                    raise ValueError(
                        f"{field} = {getattr(self, field)!r} is for hourglasses;"
                        f" architecture = 'unet' takes {field} = {only!r} only"
                    )
        return self


class AsrConfig(_Section):
    """Adversarial scaling and rotating (Section 4.1): bins and their bounded Gaussians."""

    enabled: bool = True
    scale_bins: int = Field(7, ge=2, json_schema_extra=_STRUCTURAL)
    rotation_bins: int = Field(9, ge=2, json_schema_extra=_STRUCTURAL)
    max_scale_log2: float = Field(0.6, gt=0, le=2)
    max_rotation_deg: float = Field(60.0, gt=0, le=180)
    scale_sigma_log2: float = Field(0.05, ge=0, le=0.5)
    rotation_sigma_deg: float = Field(5.0, ge=0, le=45)


class AhoConfig(_Section):
    """Adversarial hierarchical occluding (Section 4.2): the cell grid and the mask."""

    enabled: bool = True
    grid_width: int = Field(4, ge=2, json_schema_extra=_STRUCTURAL)
    grid_height: int = Field(4, ge=2, json_schema_extra=_STRUCTURAL)
    max_cells: int = Field(2, ge=1, le=4)
    hierarchy: Literal["up", "down", "independent"] = Field("up", description="Figure 4; the paper uses the first")
    reference: Literal["random_cells", "none"] = "random_cells"


class RewardConfig(_Section):
    """Reward and penalty (Section 4.3, Eq. 5 and 6)."""

    alpha: Rate = 0.2
    beta: Rate = 0.5
    reward_by: Literal["loss", "pckh"] = "loss"
    probability_cap: float | None = Field(None, gt=1, description="times 1/k; the authors' release uses 2")


class RandomConfig(_Section):
    """The random augmentation space Gamma, which is also the reference of the comparison."""

    random_range: Literal["release", "paper"] = "release"
    flip_probability: float = Field(0.5, ge=0, le=1)
    color_range: float = Field(0.4, ge=0, lt=1, description="channels are multiplied by 1 -+ this")


class LossConfig(_Section):
    """Heatmap targets and the loss on them."""

    target_sigma_px: Positive = Field(1.0, description="heatmap pixels")
    foreground_weight: float = Field(0.0, ge=0, description="w in 1 + w t; 0 is the plain MSE")
    decoder: Literal["paper", "exact"] = "paper"


class StagesConfig(_Section):
    """How long each stage lasts; an epoch is one pass over the stage's images."""

    pose_epochs: Count = 4
    pretrain_epochs: Count = 4
    pretrain_images: int | None = Field(256, ge=1, description="None: all training images")
    joint_epochs: Count = 4


class OptimConfig(_Section):
    """Optimisers, learning rates of the three stages, and whose images evaluation's BatchNorm statistics are of."""

    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    pose_lr: Positive = 2.5e-4
    pose_lr_after_plateau: Positive = 5e-5
    plateau_patience_epochs: Count = 5
    pretrain_lr: Positive = 2.5e-4
    joint_lr: Positive = Field(5e-5, description="of both augmentation networks in stage 3")
    adversarial_bn: Literal["shared", "separate"] = Field(
        "shared", description="whether adversarial passes move the running statistics that evaluation uses"
    )


class RunSection(_Section):
    """Batch, seed, processes and saving."""

    seed: int = Field(0, ge=0, lt=2**32)
    global_batch_size: int = Field(24, ge=3)
    num_workers: Count = 1
    torch_threads_per_worker: Count = 1
    cpus_per_worker: Positive = 1.0
    cpus_per_data_task: float = Field(0.5, gt=0, le=1, description="each stream has one CPU set aside")
    gpus_per_worker: float = Field(0.0, ge=0)
    eval_batch_size: Count = 50
    checkpoint_every_epochs: Count = 1
    keep_last_checkpoints: int = Field(2, ge=2, description="a trial may still point at the last but one")


class Config(_Section):
    """One training run, or one trial of a population."""

    preset: str = "default"
    net: PoseNetConfig = PoseNetConfig()
    asr: AsrConfig = AsrConfig()
    aho: AhoConfig = AhoConfig()
    reward: RewardConfig = RewardConfig()
    random: RandomConfig = RandomConfig()
    loss: LossConfig = LossConfig()
    stages: StagesConfig = StagesConfig()
    optim: OptimConfig = OptimConfig()
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.run.global_batch_size < 3 * self.run.num_workers and self.adversarial:
            raise ValueError(
                f"run.global_batch_size = {self.run.global_batch_size} gives {self.run.num_workers} workers"
                " less than the three images each that a joint step needs"
            )
        if self.run.global_batch_size % self.run.num_workers:
            raise ValueError(
                f"run.global_batch_size = {self.run.global_batch_size} does not divide by"
                f" run.num_workers = {self.run.num_workers}"
            )
        finest = self.net.heatmap_px
        for field in ("grid_width", "grid_height"):
            if getattr(self.aho, field) > finest:
                raise ValueError(
                    f"aho.{field} = {getattr(self.aho, field)} is finer than the {finest} px feature map it is drawn on"
                )
        cells = self.aho.grid_width * self.aho.grid_height
        if self.aho.max_cells >= cells:
            raise ValueError(f"aho.max_cells = {self.aho.max_cells} would occlude all {cells} cells of the grid")
        return self

    @property
    def adversarial(self) -> bool:
        """Whether any augmentation network is trained at all."""
        return self.asr.enabled or self.aho.enabled

    def replaced(self, overrides: Mapping[str, Any], source: str = "override") -> Config:
        """Return a copy with dotted fields replaced.

        Args:
            overrides: Values by dotted name, e.g. ``{"reward.alpha": 0.3}``.
            source: Where they came from, for the message.

        Raises:
            UserError: An unknown field (with the nearest known name) or a value out of bounds.
        """
        tree = self.model_dump()
        for name, value in overrides.items():
            field_of(name, source)
            section, _, leaf = name.rpartition(".")
            (tree[section] if section else tree)[leaf] = value
        return config_from_dict(tree, source)

    def flat(self) -> dict[str, Any]:
        """Return every field by its dotted name."""
        return {name: _get(self, name) for name, _ in fields()}

    def to_yaml(self) -> str:
        """Return the config as YAML text that `load_config` reads back."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def _get(config: BaseModel, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every dotted field name with its pydantic description."""
    for name, info in Config.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for leaf, leaf_info in section.model_fields.items():
                yield f"{name}.{leaf}", leaf_info
        else:
            yield name, info


def field_of(name: str, source: str) -> FieldInfo:
    """Return the description of a dotted field; `UserError` names the nearest one if unknown."""
    known = dict(fields())
    if name not in known:
        raise UserError(f"{source}: unknown field {name!r}{nearest(name, known)}")
    return known[name]


def is_structural(name: str) -> bool:
    """Whether changing the field changes a tensor's shape."""
    extra = field_of(name, "config").json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("structural"))


def config_from_dict(tree: Mapping[str, Any], source: str) -> Config:
    """Validate a nested dictionary; `UserError` names ``source``, the field and the value."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error)}") from None


def load_config(path: Path) -> Config:
    """Read a config from YAML or JSON; `UserError` if it cannot be read or is not valid."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read config {path}: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected a mapping of fields, found {type(tree).__name__}")
    return config_from_dict(tree, str(path))


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``reward.alpha=0.3`` into its name and its value, read as YAML."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r}: expected FIELD=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {text!r}: cannot read the value {value!r}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [field for field, _ in fields()]
        return f"unknown field {name!r}{nearest(name, known)}"
    if first["type"] == "value_error":
        return f"{name + ': ' if name else ''}{first['ctx']['error']}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{name} = {first['input']!r}: {message}"
