"""Spaces of the searches that tests lay out."""

from __future__ import annotations

from pathlib import Path

from ray_advpose.search.domains import Choice, LogUniform, Uniform
from ray_advpose.search.space import SearchSpace

ALPHA = Uniform(0.05, 0.5)
FIELDS = {"reward.alpha": ALPHA, "asr.scale_bins": Choice((3, 5)), "optim.pose_lr": LogUniform(1e-4, 1e-2)}
SPACE = SearchSpace(FIELDS, trials=4)
GRID = SearchSpace({"asr.scale_bins": Choice((3, 5)), "aho.max_cells": Choice((1, 2, 3))}, draw="grid")
OUTPUT = Path("runs/held")
