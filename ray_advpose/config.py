"""A whole config: sections of settings, addressed by dotted names, read from files and text.

A dotted name such as ``reward.alpha`` addresses one field, in presets, on the command line and in
search spaces alike. Unknown names fail with the nearest known one. The fields themselves, their
defaults and their bounds are in `ray_advpose.sections`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ray_advpose.errors import UserError, nearest
from ray_advpose.sections import (
    AhoConfig,
    AsrConfig,
    LossConfig,
    OptimConfig,
    PoseNetConfig,
    RandomConfig,
    RewardConfig,
    RunSection,
    Section,
    StagesConfig,
)


class Config(Section):
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
        # A joint step shares its batch out between D alone and each augmentation network.
        shares = 1 + self.asr.enabled + self.aho.enabled
        if self.run.global_batch_size < shares * self.run.num_workers:
            raise ValueError(
                f"run.global_batch_size = {self.run.global_batch_size} gives run.num_workers = {self.run.num_workers}"
                f" workers less than {shares} image{'s' * (shares > 1)} each, one of every share of a joint step"
            )
        if self.reward.baseline == "batch" and self.adversarial and self.run.global_batch_size < 2 * shares:
            raise ValueError(
                f"reward.baseline = 'batch' compares the images of a share, and run.global_batch_size ="
                f" {self.run.global_batch_size} gives {shares} shares less than 2 each"
            )
        if self.run.min_workers is not None and self.run.min_workers > self.run.num_workers:
            raise ValueError(
                f"run.min_workers = {self.run.min_workers} is more than run.num_workers = {self.run.num_workers}"
            )
        if self.run.cuda_graphs and self.run.num_workers > 1:
            raise ValueError(f"run.cuda_graphs is for one worker, not run.num_workers = {self.run.num_workers}")
        half = self.run.precision == "bfloat16"
        if half and self.run.sync_batchnorm and self.run.num_workers > 1 and not self.run.gpus_per_worker:
            # Our own synchronised BatchNorm is for float32; torch's, on GPUs, takes both.
            raise ValueError(
                "run.precision = 'bfloat16' with run.sync_batchnorm is for GPUs,"
                f" not run.gpus_per_worker = {self.run.gpus_per_worker:g}"
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
        return self.asr.learned or self.aho.learned

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


def binds_training(name: str) -> bool:
    """Whether what was trained cannot go on with another value: other networks, or an optimiser of another kind."""
    return is_structural(name) or name.endswith(".enabled") or name == "optim.optimizer"


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


def parse_override(text: str, where: str = "--set") -> tuple[str, Any]:
    """Split ``reward.alpha=0.3`` into its name and its value, read as YAML; ``where`` it was given goes into errors."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{where} {text!r}: expected FIELD=VALUE")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # the latter for what looks like a date and is none
        raise UserError(f"{where} {text!r}: cannot read the value {value!r}") from None


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
